"""BitNet runs: set up one trial, or K of one width, train them and report."""

import functools
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bitnet.data.prepare import open_tokens
from bitnet.data.tokens import Tokens, batch, check_length, decode, validation_contexts
from bitnet.execution.decide import members_that_fit, should_compile
from bitnet.model import measures
from bitnet.settings.config import Gradient
from bitnet.settings.options import PER_MEMBER, Options, options_of
from bitnet.settings.parametrization import factors
from bitnet.settings.schedule import AdaptiveWarmup
from bitnet.ternary.arithmetic import Arithmetic, choose
from bitnet.training import checkpoint, cpu
from bitnet.training.population import Member, Population
from bitnet.training.steppers import stepper_for
from lrtune.trainer import Trial

_log = logging.getLogger("bitnet")


def train_population(trials: Sequence[Trial]) -> None:
    """See `bitnet.train.train_population`."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(_shared_settings(trial), []).append(trial)
    with cpu.tiny_as_zero():
        for group in groups.values():
            _train_as_many_as_fit(group)


def _shared_settings(trial: Trial) -> str:
    """A key of the settings that members of one population share."""
    options = vars(options_of(trial))
    shared = sorted((name, value) for name, value in options.items() if name not in PER_MEMBER)
    shared.append(("muon", options["optimizer"] == "muon"))
    return repr([trial.hidden_size, trial.steps, trial.report_every, trial.device, trial.micro_batch, shared])


def _train_as_many_as_fit(trials: Sequence[Trial]) -> None:
    """Train as many trials together as memory holds.

    On a GPU, halve the population on an out-of-memory error. On a CPU the system would kill the process, so estimate.
    """
    if len(trials) > 1 and trials[0].device == "cpu":
        fit = members_that_fit(trials)
        if fit < len(trials):
            for start in range(0, len(trials), fit):
                _train_as_many_as_fit(trials[start : start + fit])
            return
    try:
        _train_together(trials)
        return
    except torch.OutOfMemoryError:
        if len(trials) == 1:
            raise
    torch.cuda.empty_cache()
    half = (len(trials) + 1) // 2
    _log.warning("%d models of width %d do not fit into memory; %d at once", len(trials), trials[0].hidden_size, half)
    _train_as_many_as_fit(trials[:half])
    _train_as_many_as_fit(trials[half:])


@dataclass(kw_only=True)
class _Runner:
    """One trial in training. `kept` is False once the trial is stopped; its member may stay in the batch longer."""

    trial: Trial
    options: Options
    identity: str
    member: Member
    kept: bool = True


class _Run:
    """K trials in training: the population, its held-out text, and the ternary weights of the last report."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.first = first = trials[0]
        if first.device == "cpu":
            cpu.settle(first.threads)
        options = [options_of(trial) for trial in trials]
        self.options = options[0]
        self.arithmetic = choose(torch.device(first.device))
        self.gradient = _gradient(self.options, self.arithmetic)
        self.tokens = open_tokens(self.options)
        check_length(self.tokens, batch_size=self.options.batch, context=self.options.context)
        if any(own.sample_tokens for own in options):
            decode(self.tokens.folder, [])  # fail before training if the tokenizer is missing
        self.config = self.options.config(first.hidden_size, self.tokens.vocabulary_size)
        self.held_out = _held_out(self.tokens, self.options, first)
        self.runners = [
            _Runner(
                trial=trial,
                options=own,
                identity=checkpoint.identity(trial, self.config, self.tokens.fingerprint),
                member=self._member(trial, own),
            )
            for trial, own in zip(trials, options, strict=True)
        ]
        self.population = self._population()

    def _population(self) -> Population:
        options = self.options
        members, identities = [r.member for r in self.runners], [r.identity for r in self.runners]
        state, self.ternary, compiled = checkpoint.load(self.trials, identities, members)
        # A resumed run stays compiled or uncompiled: the two differ in rounding.
        self.compiled = should_compile(options, self.config, self.trials) if compiled is None else compiled
        return Population(
            self.config,
            members,
            functools.partial(_batch, self.tokens, options.batch, options.context),
            stepper=stepper_for(self.first.device, compiled=self.compiled, muon=options.optimizer == "muon"),
            device=self.first.device,
            gradient=self.gradient,
            arithmetic=self.arithmetic,
            betas=(options.betas[0], options.betas[1]),
            epsilon=options.epsilon,
            init_std=options.init_std,
            factors=factors(options.parametrization, self.first.hidden_size, options.base_width),
            micro_batch=self.first.micro_batch,
            state=state,
        )

    @property
    def trials(self) -> list[Trial]:
        return [runner.trial for runner in self.runners]

    def _member(self, trial: Trial, options: Options) -> Member:
        adaptive = AdaptiveWarmup(unigram_entropy=self.held_out.unigram_entropy, pace=options.warmup_pace)
        return Member(
            seed=trial.seed,
            schedule=options.course(trial.learning_rate, trial.steps),
            optimizer=options.optimizer,
            adam_ratio=options.adam_lr / trial.learning_rate if options.adam_lr else 1.0,
            clip=options.clip or math.inf,
            label_smoothing=options.label_smoothing,
            warmup=adaptive if options.warmup == "adaptive" else None,
        )

    def describe(self) -> None:
        """Report each run's facts, conditions and plan to its trial."""
        plan = {
            "gradients": self.gradient,
            "members": len(self.runners),
            "compiled": self.compiled,
            "kernels": not self.compiled and self.arithmetic.name == "kernels",
        }
        for runner in self.runners:
            runner.trial.describe(
                parameters=self.config.parameters,
                tokens_per_step=self.options.batch * self.options.context,
                batch_size=self.options.batch,
                vocabulary_size=self.config.vocabulary_size,
                unigram_entropy=self.held_out.unigram_entropy,
                regime_changes=runner.member.schedule.regime_changes,
                conditions=_conditions(runner, self.tokens),
                plan=plan,
            )

    def report(self) -> None:
        """Measure all members, report each, and drop the stopped ones."""
        population, step = self.population, self.population.state.step
        if any(trial.checkpoint_due for trial in self.trials):
            kept = {k: (r.trial, r.identity) for k, r in enumerate(self.runners) if r.kept}
            checkpoint.save(kept, population, self.ternary)
        now = measures.ternary(population.parameters)
        figures = measures.weight_figures(population.ternary_weights, now, self.ternary)
        if step:
            figures |= {"grad_norm": population.state.gradient_norm, "update_ratio": population.state.update_ratio}
        is_final = step == self.first.steps
        table = measures.measure(
            population.parameters,
            self.config,
            self.held_out,
            arithmetic=population.arithmetic,
            is_final=is_final,
            extra=figures,
        )
        self.ternary = now
        if is_final:
            self._attach_samples()
        for k, runner in enumerate(self.runners):
            if not runner.kept:
                continue
            numbers = {name: column[k] for name, column in table.items()}
            if runner.member.warmup:
                runner.member.warmup.judge(numbers["loss"], numbers["diversity"])
            runner.kept = runner.trial.report(step, **numbers)
        self._close_gaps()

    def _close_gaps(self) -> None:
        """Remove stopped members from the batch once the smaller batch is worth the cost of a new shape."""
        kept = [k for k, runner in enumerate(self.runners) if runner.kept]
        if not kept or len(kept) > self.population.worthwhile_size:
            return
        self.runners = [self.runners[k] for k in kept]
        if self.ternary is not None:
            self.ternary = self.ternary[kept]
        self.population.keep(kept)

    def _attach_samples(self) -> None:
        count, context = max(runner.options.sample_tokens for runner in self.runners), self.options.context
        if not count:
            return
        prompt = self.held_out.final[0, :-1][: max(1, context // 2)]
        population = self.population
        written = measures.write_on(
            population.parameters, self.config, prompt, arithmetic=population.arithmetic, count=count, context=context
        )
        start = decode(self.tokens.folder, prompt.tolist())
        for runner, ids in zip(self.runners, written.tolist(), strict=True):
            if runner.options.sample_tokens and runner.kept:
                runner.trial.attach("prompt", start)
                runner.trial.attach("sample", decode(self.tokens.folder, ids[: runner.options.sample_tokens]))


def _train_together(trials: Sequence[Trial]) -> None:
    run = _Run(trials)
    run.describe()
    steps, every = trials[0].steps, trials[0].report_every
    step = run.population.state.step
    while True:
        run.report()
        if step == steps or not any(runner.kept for runner in run.runners):
            break
        step = min(steps, (step // every + 1) * every)
        run.population.advance(step)
    checkpoint.remove(trials)


def _gradient(options: Options, arithmetic: Arithmetic) -> Gradient:
    """The requested precision, or fp32 with a warning if a lower precision is not faster here."""
    if options.precision == "fp32" or arithmetic.has_low_precision:
        return options.precision
    _warn_exact(options.precision)
    return "fp32"


@functools.cache
def _warn_exact(precision: str) -> None:
    _log.warning("precision %s is no faster than fp32 on this processor; gradients are fp32", precision)


def _batch(tokens: Tokens, size: int, context: int, seed: int, step: int) -> Any:
    return batch(tokens, seed=seed, step=step, batch_size=size, context=context)


def _held_out(tokens: Tokens, options: Options, trial: Trial) -> measures.HeldOut:
    def contexts(count: int) -> torch.Tensor:
        return torch.from_numpy(validation_contexts(tokens, options.context, math.ceil(count / options.context)))

    return measures.HeldOut.of(
        contexts(options.tokens_per_report(trial.report_every)),
        contexts(options.final_tokens),
        torch.from_numpy(tokens.unigram_counts),
        trial.device,
    )


def _conditions(runner: _Runner, tokens: Tokens) -> dict[str, str | int | float | bool]:
    """The conditions of a result, with the names that a rule uses; knobs, which differ from run to run, are none."""
    options, schedule = runner.options, runner.member.schedule
    staged = options.schedule == "two-stage"
    conditions: dict[str, str | int | float | bool] = {
        "model": "bitnet-b1.58",
        "depth": options.depth,
        "head_size": options.head_size,
        "ffn": options.ffn,
        "context": options.context,
        "batch_tokens": options.batch * options.context,
        "vocabulary": tokens.vocabulary_size,
        "optimizer": options.optimizer,
        "schedule": options.schedule,
        "stage2_ratio": options.stage2_ratio if staged else 1.0,
        "weight_decay": options.weight_decay,
        "weight_decay_stage2": options.weight_decay_stage2 if staged else options.weight_decay,
        "warmup": options.warmup,
        "warmup_steps": schedule.warmup,
        "clip": options.clip,
        "label_smoothing": options.label_smoothing,
        "init_std": options.init_std,
        "precision": options.precision,
        **({"parametrization": "mup", "base_width": options.base_width} if options.parametrization == "mup" else {}),
        "data": str(tokens.facts.get("dataset", Path(tokens.folder).name)),
        "data_fingerprint": tokens.fingerprint,
    }
    return {name: value for name, value in conditions.items() if name not in runner.trial.knobs}
