"""Hugging Face's Trainer as an lrtune trainer: a callback that reports and stops, its arguments and its metrics.

In a training function::

    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(output_dir=folder, **training_arguments(trial)),
        train_dataset=train, eval_dataset=held_out,
        compute_metrics=token_diversity, preprocess_logits_for_metrics=most_likely_tokens,
        callbacks=[TrialCallback(trial)],
    )
    trainer.train()
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from lrtune.diversity import diversity
from lrtune.errors import InputError, MissingExtraError
from lrtune.trainer.trial import Trial

try:
    from transformers import TrainerCallback, TrainingArguments
except ImportError as error:
    raise MissingExtraError("huggingface", "transformers", "lrtune.trainer.huggingface") from error

_IGNORED = -100
_ARGUMENTS = {field.name for field in fields(TrainingArguments)}


def training_arguments(trial: Trial) -> dict[str, Any]:
    """The keyword arguments of ``TrainingArguments`` that a trial sets: rate, steps, seed, evaluation interval, and the
    knobs that have an argument of the same name, such as ``weight_decay``."""
    return {
        **{name: value for name, value in trial.knobs.items() if name in _ARGUMENTS},
        "learning_rate": trial.learning_rate,
        "max_steps": trial.steps,
        "seed": trial.seed,
        "data_seed": trial.seed,
        "eval_strategy": "steps",
        "eval_steps": trial.report_every,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": trial.device == "cpu",
    }


class TrialCallback(TrainerCallback):  # type: ignore[misc]
    """Reports every evaluation to a trial, and stops training when the trial ends it.

    Args:
        trial: the training function's trial.
        metric: the reported loss; with a dictionary of evaluation sets, that of one set: ``eval_wiki_loss``.
        describe: whether to report the model's parameters, vocabulary and tokens per step.
        tokens_per_sequence: sequence length, for the tokens per step; None if unknown.
    """

    def __init__(
        self,
        trial: Trial,
        *,
        metric: str = "eval_loss",
        describe: bool = True,
        tokens_per_sequence: int | None = None,
    ) -> None:
        self.trial = trial
        self.metric = metric
        self.describe = describe
        self.tokens_per_sequence = tokens_per_sequence
        self._is_training = self._has_reported = False
        self._others: dict[str, int] = {}  # losses of evaluations without the metric → their step

    def on_train_begin(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:
        """Describe the run from its model."""
        self._is_training = True
        if not self.describe or model is None:
            return
        batch = args.train_batch_size * args.gradient_accumulation_steps * max(1, args.world_size)
        tokens = None if self.tokens_per_sequence is None else batch * self.tokens_per_sequence
        self.trial.describe(
            parameters=sum(weight.numel() for weight in model.parameters() if weight.requires_grad),
            tokens_per_step=tokens,
            batch_size=batch,
            vocabulary_size=getattr(getattr(model, "config", None), "vocab_size", None),
            conditions={"optimizer": str(getattr(args.optim, "value", args.optim)), "weight_decay": args.weight_decay},
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Evaluate the last step too, even between two multiples of the interval."""
        if state.global_step >= self.trial.steps:
            control.should_evaluate = True
        return control

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Mapping[str, float], **_: Any) -> Any:
        """Report, and stop if the search ends the run."""
        if not self._is_training:  # a test set, after the run
            return control
        if self.metric not in metrics:
            self._others |= {name: state.global_step for name in metrics if name.endswith("loss")}
            if not self._has_reported and min(self._others.values(), default=-1) < state.global_step:
                self._refuse()
            return control
        self._has_reported = True
        step = min(state.global_step, self.trial.steps)
        diversity = metrics.get(self.metric.removesuffix("loss") + "diversity")
        if not self.trial.report(step, loss=metrics[self.metric], diversity=diversity):
            control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Later evaluations are not of this run."""
        self._is_training = False
        if self._others and not self._has_reported:
            self._refuse()

    def _refuse(self) -> None:
        if not self._others:
            raise InputError(f"report: the metrics have no {self.metric}; give the Trainer labels and an eval_dataset")
        raise InputError(
            f"report: no evaluation gave {self.metric}, but {', '.join(self._others)}; "
            "name one: TrialCallback(trial, metric=…)"
        )


def most_likely_tokens(logits: Any, labels: Any) -> Any:
    """For ``preprocess_logits_for_metrics``: reduces the logits to the most likely token."""
    if isinstance(logits, tuple):
        logits = logits[0]
    return logits.argmax(dim=-1)


def token_diversity(evaluation: Any) -> dict[str, float]:
    """For ``compute_metrics``: the diversity of a causal model's most likely tokens (see `lrtune.diversity`)."""
    predicted, reference = evaluation.predictions[:, :-1], evaluation.label_ids[:, 1:]
    counted = reference != _IGNORED
    return {
        "diversity": diversity(
            Counter(predicted[counted].tolist()).values(), Counter(reference[counted].tolist()).values()
        )
    }
