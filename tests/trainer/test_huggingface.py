"""Hugging Face's Trainer with several evaluation sets, and with an evaluation after training."""

import tempfile
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

from lrtune.errors import InputError  # noqa: E402
from lrtune.trainer.huggingface import TrialCallback, training_arguments  # noqa: E402
from lrtune.trainer.trial import Report, Trial  # noqa: E402

pytestmark = pytest.mark.slow


class Bytes(torch.utils.data.Dataset):  # type: ignore[misc,name-defined]
    """Windows of eight bytes."""

    def __init__(self, text: bytes, *, labels: bool = True) -> None:
        self.windows, self.labels = torch.tensor(list(text)).view(-1, 8), labels

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"input_ids": self.windows[index]} | ({"labels": self.windows[index]} if self.labels else {})


CODE, WIKI = Bytes(bytes(range(32))), Bytes(b"ab" * 16)


def losses(held_out: object, **how: Any) -> tuple[list[Report], Any]:
    """What a tiny run reports, and its trainer."""
    reports: list[Report] = []
    trial = Trial(
        hidden_size=8,
        learning_rate=0.1,
        steps=4,
        report_every=2,
        on_report=lambda report: reports.append(report) or True,
    )
    config = transformers.GPT2Config(
        vocab_size=256, n_positions=8, n_embd=8, n_layer=1, n_head=1, loss_type="ForCausalLM"
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = transformers.Trainer(
            model=transformers.GPT2LMHeadModel(config),
            args=transformers.TrainingArguments(output_dir=folder, **training_arguments(trial)),
            train_dataset=CODE,
            eval_dataset=held_out,
            callbacks=[TrialCallback(trial, **how)],
        )
        trainer.train()
    return reports, trainer


def test_a_knob_with_the_name_of_an_argument_is_that_argument() -> None:
    trial = Trial(hidden_size=8, learning_rate=0.1, steps=4, knobs={"weight_decay": 0.3, "adam_lr": 0.2})
    given = training_arguments(trial)
    assert given["weight_decay"] == 0.3 and "adam_lr" not in given


def test_one_of_several_evaluation_sets_is_reported() -> None:
    reports, _ = losses({"code": CODE, "wiki": WIKI}, metric="eval_wiki_loss")
    assert [report.step for report in reports] == [2, 4]


def test_several_evaluation_sets_without_a_metric_are_named() -> None:
    with pytest.raises(InputError, match=r"no evaluation gave eval_loss, but eval_code_loss, eval_wiki_loss; name one"):
        losses({"code": CODE, "wiki": WIKI})


def test_an_evaluation_without_labels_is_refused() -> None:
    with pytest.raises(InputError, match="the metrics have no eval_loss; give the Trainer labels"):
        losses(Bytes(bytes(32), labels=False))


@pytest.mark.parametrize("prefix", ["eval", "test"])
def test_an_evaluation_after_training_is_not_reported(prefix: str) -> None:
    reports, trainer = losses(CODE)
    trainer.evaluate(WIKI, metric_key_prefix=prefix)
    assert [report.step for report in reports] == [2, 4]
