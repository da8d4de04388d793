"""One short run of a trainer, outside of a search."""

import math
import os
import secrets
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from lrtune.errors import InputError, LrtuneError, RunFailedError
from lrtune.study.knob import middle
from lrtune.study.study import Study
from lrtune.study.task import Task, steps_of
from lrtune.trainer.trial import Facts, Report, Trainer, Trial


@dataclass(kw_only=True)
class ShortRun:
    """The results of one short run."""

    trial: Trial
    reports: list[Report] = field(default_factory=list)
    after_stop: int = 0
    facts: Facts | None = None
    returned: object = None
    error: str = ""
    seconds: float = 0.0
    times: list[float] = field(default_factory=list)  # of the reports

    @property
    def losses(self) -> list[float]:
        return [report.loss for report in self.reports]

    @property
    def step_seconds(self) -> float:
        """Seconds per step: between the first and the last report, or else of the whole run."""
        steps = self.reports[-1].step - self.reports[0].step
        seconds = self.times[-1] - self.times[0]
        return seconds / steps if steps and seconds else self.seconds / self.trial.steps

    @property
    def other_seconds(self) -> float:
        """Seconds before and after the steps."""
        return max(0.0, self.seconds - self.step_seconds * self.trial.steps)


def trial_of(
    study: Study,
    width: int,
    learning_rate: float | None = None,
    *,
    scales: Mapping[str, float] | None = None,
    knobs: Mapping[str, float] | None = None,
    device: str = "cpu",
) -> Trial:
    """A trial at this width, by default at the middle of the rates and of the knobs and at the first other scales."""
    rate = learning_rate or math.sqrt(study.lr_min * study.lr_max)
    scales = {name: values[0] for name, values in study.scales.items()} | dict(scales or {})
    return Trial(
        hidden_size=width,
        learning_rate=rate,
        steps=steps_of(Task(hidden_size=width, learning_rate=rate, scales=scales), study),
        report_every=study.report_every,
        id=f"check-{secrets.token_hex(4)}",
        seed=study.seed,
        options=study.options,
        scales=scales,
        knobs=middle(study.knobs, rate) if knobs is None else knobs,
        device=device,
        maximize=study.maximize,
    )


def short_run(
    trainer: Trainer,
    study: Study,
    width: int,
    *,
    learning_rate: float | None = None,
    scales: Mapping[str, float] | None = None,
    knobs: Mapping[str, float] | None = None,
    keep: int = 10**9,
    device: str = "cpu",
    hook: Callable[[], None] = lambda: None,
) -> ShortRun:
    """Train one trial of the study, stopped at its report number `keep`; `hook` is called at each report.

    The trainer's errors become the run's `error`.
    """
    run = ShortRun(trial=trial_of(study, width, learning_rate, scales=scales, knobs=knobs, device=device))

    def on_report(report: Report) -> bool:
        hook()
        run.after_stop += len(run.reports) >= keep
        run.reports.append(report)
        run.times.append(time.perf_counter())
        return len(run.reports) < keep

    def on_describe(facts: Facts) -> None:
        run.facts = facts

    trial = replace(run.trial, on_report=on_report, on_describe=on_describe)
    process, start = os.getpid(), time.perf_counter()
    try:
        if trainer.train is not None:
            run.returned = trainer.train(trial)
        elif trainer.train_population is not None:
            run.returned = trainer.train_population([trial])
    except (InputError, RunFailedError) as error:
        run.error = str(error)
    except LrtuneError:
        raise
    except SystemExit as error:
        run.error = f"the trainer called exit({error.code}); expected it to return"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        run.error = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
    finally:
        if os.getpid() != process:
            os._exit(0)  # the trainer forked, and this is its child: only the parent reports
    run.seconds = time.perf_counter() - start
    return run
