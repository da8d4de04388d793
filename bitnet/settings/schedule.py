"""Learning rate and weight decay by step: two-stage, constant, cosine, wsd; warm-up, fixed or adaptive.

Two-stage (b1.58 Training Tips, Fig. 1c), with warm-up to step w, T total steps, peaks p₁ and p₂ and a common final
rate e: in stage s

    lr(t) = e + (p_s − e) · (1 − (t − w) / (T − w))

Stage 2 starts at step T/2: the rate drops to the second line, and weight decay changes to its second value. Steps
count from 0: ``at(t)`` is the rate of the update after t updates.

Warmup-stable-decay (MiniCPM, arXiv 2404.06395): the peak until a last share of the steps, the cooldown, over which the
rate falls linearly to e (arXiv 2405.18392).
"""

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["two-stage", "constant", "cosine", "wsd"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The schedule of one run.

    Attributes:
        kind: two-stage, constant, cosine or wsd (after warm-up).
        peak: learning rate at the end of warm-up.
        steps: total updates.
        warmup: updates over which the rate rises linearly from 0 to the peak.
        end: final rate of two-stage, cosine and wsd.
        stage2_ratio: peak of stage 2 ÷ peak of stage 1.
        switch: first step of stage 2; None is the middle.
        cooldown: share of the steps over which the rate of wsd falls.
        weight_decay, weight_decay_stage2: before the switch, and from it on; only two-stage switches.
    """

    kind: Kind = "two-stage"
    peak: float
    steps: int
    warmup: int = 0
    end: float = 0.0
    stage2_ratio: float = 2 / 3
    switch: int | None = None
    cooldown: float = 0.2
    weight_decay: float = 0.1
    weight_decay_stage2: float = 0.0

    @property
    def stage2_start(self) -> int:
        """The first step of stage 2."""
        return self.steps // 2 if self.switch is None else self.switch

    def in_stage2(self, step: int) -> bool:
        """Whether the update at `step` belongs to stage 2."""
        return self.kind == "two-stage" and step >= self.stage2_start

    def learning_rate(self, step: int, ramp: float | None = None) -> float:
        """The rate of the update at `step`.

        Args:
            step: updates made before it, 0 … steps − 1.
            ramp: warm-up updates made, including this one, as an adaptive warm-up counts them; None for a fixed one.
        """
        done = step + 1 if ramp is None else ramp
        rise = min(1.0, done / self.warmup) if self.warmup > 0 else 1.0
        return rise * self._after_warmup(max(step, self.warmup))

    def _after_warmup(self, step: int) -> float:
        if self.kind == "constant":
            return self.peak
        left = 1.0 - (step - self.warmup) / max(1, self.steps - self.warmup)
        if self.kind == "cosine":
            return self.end + (self.peak - self.end) * 0.5 * (1.0 - math.cos(math.pi * left))
        if self.kind == "wsd":
            length = max(1.0, self.cooldown * self.steps)
            return self.end + (self.peak - self.end) * min(1.0, (self.steps - step) / length)
        peak = self.peak * (self.stage2_ratio if self.in_stage2(step) else 1.0)
        return self.end + (peak - self.end) * left

    def decay(self, step: int) -> float:
        """The weight decay of the update at `step`."""
        return self.weight_decay_stage2 if self.in_stage2(step) else self.weight_decay

    @property
    def regime_changes(self) -> tuple[int, ...]:
        """Steps at which the learning rate or the weight decay jumps."""
        jumps = self.stage2_ratio != 1.0 or self.weight_decay_stage2 != self.weight_decay
        inside = 0 < self.stage2_start < self.steps
        return (self.stage2_start,) if self.kind == "two-stage" and jumps and inside else ()


def default_warmup(steps: int) -> int:
    """375 updates (from the Training Tips), or a tenth of a shorter run."""
    return max(1, min(375, steps // 10))


@dataclass
class AdaptiveWarmup:
    """A warm-up that slows down while the model's output has collapsed.

    Each report updates `sound`: the loss is below the unigram entropy, or the diversity is above `floor`. While the
    run is not sound, the rate rises at `pace` times the usual slope, so that the model can recover before its weights
    move fast. The rise never stops: at a rate near 0 the model would not learn.

    Attributes:
        unigram_entropy: unigram entropy of the validation text, nats per token.
        floor: diversity below it counts as collapsed.
        pace: slope while the run is not sound, as a share of the usual slope.
        done: warm-up updates so far; slow ones count as `pace`.
        sound: whether the run was sound at the last report.
    """

    unigram_entropy: float
    floor: float = 0.1
    pace: float = 0.25
    done: float = 0.0
    sound: bool = True

    def judge(self, loss: float, diversity: float) -> None:
        """Update `sound` from a report."""
        self.sound = loss < self.unigram_entropy or diversity >= self.floor

    def advance(self) -> float:
        """Count one update; returns the warm-up updates so far, including this one."""
        self.done += 1.0 if self.sound else self.pace
        return self.done
