"""The examples that the README shows run as they stand, with the real libraries."""

import math
import shlex
import sys
from pathlib import Path

import pytest

from lrtune.study.study import Study
from lrtune.trainer.command import command_trainer
from lrtune.trainer.find import resolve_trainer
from lrtune.trainer.trial import Facts, Report, Trainer, Trial

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


@pytest.fixture
def in_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.syspath_prepend(str(EXAMPLES))


def reports(trainer: Trainer, *, keep: int = 10**6, **values: object) -> tuple[list[Report], list[Facts]]:
    """What one run reports and says of itself."""
    found: list[Report] = []
    facts: list[Facts] = []

    def on_report(report: Report) -> bool:
        found.append(report)
        return len(found) < keep

    settings = {"hidden_size": 16, "learning_rate": 0.01, "steps": 40, "report_every": 15, **values}
    assert trainer.train is not None
    trainer.train(Trial(**settings, on_report=on_report, on_describe=facts.append))  # type: ignore[arg-type]
    return found, facts


@pytest.mark.usefixtures("in_examples")
@pytest.mark.parametrize(
    ("target", "first"),
    [("digits:train", math.log(10)), ("gpt2:train", math.log(256))],
)
def test_a_real_model_learns_and_one_seed_gives_one_course(target: str, first: float) -> None:
    trainer = resolve_trainer(target)
    (found, facts), (again, _), (other, _) = (reports(trainer, seed=seed) for seed in (3, 3, 4))
    assert found[-1].step == 40
    assert found[-1].loss < first - 0.2
    assert all(report.diversity is not None and 0 <= report.diversity < 1.3 for report in found)
    assert facts[0].parameters and facts[0].vocabulary_size in (10, 256)
    assert found == again
    assert [report.loss for report in found] != [report.loss for report in other]


@pytest.mark.usefixtures("in_examples")
@pytest.mark.parametrize("target", ["digits:train", "gpt2:train"])
def test_a_run_that_is_turned_down_stops_at_once(target: str) -> None:
    assert len(reports(resolve_trainer(target), keep=1)[0]) == 1


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks transformers
def test_an_adapter_learns_and_only_its_own_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("peft", reason="peft is not installed")
    monkeypatch.syspath_prepend(str(EXAMPLES.parent))
    trainer = resolve_trainer("examples.lora:train")
    options = {"base": str(tmp_path)}
    assert trainer.prepare is not None
    trainer.prepare(Study(widths=(16,), options=options))
    counts = []
    for rank in (2.0, 4.0):
        found, facts = reports(trainer, options=options, scales={"rank": rank}, learning_rate=0.03)
        assert found[-1].step == 40 and found[-1].loss < math.log(256) - 2
        counts.append(facts[0].parameters)
    per_rank = 2 * ((16 + 48) + (16 + 16) + (16 + 64) + (64 + 16))  # two layers of attention, its output, and the FFN
    assert counts == [2 * per_rank, 4 * per_rank]


@pytest.mark.usefixtures("in_examples")
def test_the_tokens_of_a_step_are_described() -> None:
    _, facts = reports(resolve_trainer("gpt2:train"), steps=2)
    assert facts[0].tokens_per_step == 8 * 32


@pytest.mark.usefixtures("in_examples")
def test_a_program_is_tuned_by_its_command_line() -> None:
    line = f"{shlex.quote(sys.executable)} program.py --lr {{learning_rate}} --width {{hidden_size}} --steps {{steps}}"
    found, _ = reports(command_trainer(shlex.split(line)))
    assert [report.step for report in found] == [0, 20, 40]
    assert found[-1].loss < found[0].loss
