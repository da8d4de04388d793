"""Watches the optimizers of torch in this process: what their first update does to the weights.

It patches torch for the time of a run, and only where the trainer has imported it.
"""

import contextlib
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from lrtune.trainer.trial import Interrupted

_PATIENCE = 8  # further steps of one optimizer while another has not moved


class Seen(Interrupted):
    """Ends a run whose first updates were seen."""


@dataclass(frozen=True, kw_only=True)
class GroupUpdate:
    """The first update of one group of parameters.

    Attributes:
        name: of its optimizer, with the group's number if there are several.
        what: its tensors, in words.
        built, rate: its learning rate when the optimizer was built, and at the update.
        change, size: norms of the weights' change and of the weights.
    """

    name: str
    what: str
    built: float
    rate: float
    change: float
    size: float


@dataclass(kw_only=True)
class Watched:
    """What was seen: updates in the order of their optimizers' first ones; whether gradients were clipped; why the
    run failed, if it did."""

    updates: list[GroupUpdate] = field(default_factory=list)
    clipped: bool = False
    error: str = ""


def can_watch() -> bool:
    """Whether the process has a torch that can be watched."""
    return hasattr(_optimizers(), "register_optimizer_step_pre_hook")


def _optimizers() -> Any:
    return sys.modules.get("torch.optim.optimizer")


@contextlib.contextmanager
def watching(*, clips: bool = True) -> Iterator[Watched]:
    """Watch the runs inside, which `Seen` ends early; with ``clips=False`` clipping of gradients does nothing."""
    watch = _Watch()
    optimizers, module = _optimizers(), sys.modules.get("torch.nn.utils.clip_grad")
    built, clip = optimizers.Optimizer.add_param_group, getattr(module, "_clip_grads_with_norm_", None)
    before = optimizers.register_optimizer_step_pre_hook(watch.before)
    after = optimizers.register_optimizer_step_post_hook(watch.after)
    optimizers.Optimizer.add_param_group = watch.noting(built)
    if clip is not None:
        setattr(module, "_clip_grads_with_norm_", watch.clipping(clip, clips))  # noqa: B010
    try:
        with contextlib.suppress(Seen):
            yield watch.seen
    finally:
        before.remove()
        after.remove()
        optimizers.Optimizer.add_param_group = built
        if clip is not None:
            setattr(module, "_clip_grads_with_norm_", clip)  # noqa: B010


class _Watch:
    """The hooks of one run, and what they saw."""

    def __init__(self) -> None:
        self.seen = Watched()
        self._built: dict[int, list[float]] = {}  # rates of the groups, by optimizer
        self._known: list[Any] = []  # keeps the optimizers, and thus their ids
        self._moved: dict[int, int] = {}  # steps since an optimizer's first update
        self._weights: list[list[Any]] = []
        self._depth = 0  # of steps: that of a class may call that of its parent

    def noting(self, add: Callable[..., Any]) -> Callable[..., Any]:
        """Optimizer.add_param_group that notes the group's rate."""

        def noted(optimizer: Any, group: Any) -> Any:
            result = add(optimizer, group)
            if not any(optimizer is known for known in self._known):
                self._known.append(optimizer)
            self._built.setdefault(id(optimizer), []).append(_rate(optimizer.param_groups[-1]))
            return result

        return noted

    def clipping(self, clip: Callable[..., Any], clips: bool) -> Callable[..., Any]:
        """The function that scales gradients, or nothing in its place."""

        def clipped(parameters: Any, max_norm: float, total_norm: Any, *more: Any, **named: Any) -> None:
            self.seen.clipped = self.seen.clipped or float(total_norm) > max_norm
            if clips:
                clip(parameters, max_norm, total_norm, *more, **named)

        return clipped

    def before(self, optimizer: Any, *_: Any) -> None:
        """Keep the weights; end the run if every optimizer has moved its own."""
        self._depth += 1
        if self._depth > 1:
            return
        if id(optimizer) in self._moved:
            self._moved[id(optimizer)] += 1
            if len(self._moved) >= len(self._known) or self._moved[id(optimizer)] > _PATIENCE:
                raise Seen("the first updates were seen")
            return
        self._weights = [[weight.detach().clone() for weight in group["params"]] for group in optimizer.param_groups]

    def after(self, optimizer: Any, *_: Any) -> None:
        """Note the first step that changes a weight."""
        self._depth -= 1
        if self._depth or id(optimizer) in self._moved:
            return
        groups = optimizer.param_groups
        changes = [
            _norm(now.detach() - old for now, old in zip(group["params"], olds, strict=True))
            for group, olds in zip(groups, self._weights, strict=True)
        ]
        if not any(changes):
            return
        self._moved[id(optimizer)] = 0
        built = self._built.get(id(optimizer), [_rate(group) for group in groups])
        for number, (group, olds, change) in enumerate(zip(groups, self._weights, changes, strict=True), 1):
            kind = type(optimizer).__name__
            self.seen.updates.append(
                GroupUpdate(
                    name=f"group {number} of {kind}" if len(groups) > 1 else kind,
                    what=_in_words(olds),
                    built=built[number - 1],
                    rate=_rate(group),
                    change=change,
                    size=_norm(olds),
                )
            )


def _rate(group: Any) -> float:
    return float(group.get("lr", math.nan))


def _norm(tensors: Any) -> float:
    return math.sqrt(sum(float(tensor.double().square().sum()) for tensor in tensors))


def _in_words(tensors: list[Any]) -> str:
    largest = max(tensors, key=lambda tensor: tensor.numel())
    shape = "×".join(map(str, largest.shape)) or "1"
    return f"a tensor of {shape}" if len(tensors) == 1 else f"{len(tensors)} tensors of up to {shape}"
