"""Whether the rate that is set is the rate that acts, on models that torch trains."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from lrtune.study.study import Study
from lrtune.study.toml import parse_study
from lrtune.trainer.acting import check_acting
from lrtune.trainer.check import check_trainer
from lrtune.trainer.find import trainer_of
from lrtune.trainer.finding import Finding

pytest.importorskip("torch", reason="torch is not installed")
pytestmark = pytest.mark.slow

STUDY = parse_study("""
[study]
steps = 20
report_every = 5
[scales]
hidden_size = [8, 32]
[learning_rate]
min = 0.001
max = 0.1
""")
TWO = replace(STUDY, knobs=parse_study("[knobs]\nadam_lr = '0.1..1*learning_rate'").knobs)

TRAINER = """
import torch

def train(trial):
    torch.manual_seed(trial.seed)
    size = trial.hidden_size
    hidden, head = torch.nn.Linear(size, size), torch.nn.Linear(size, 1)
    model = torch.nn.Sequential(hidden, torch.nn.Tanh(), head)
    x = torch.randn(64, size)
    y = 30 * x[:, :1]
    OPTIMIZERS
    for step in range(trial.steps + 1):
        loss = torch.nn.functional.mse_loss(model(x), y)
        if step % trial.report_every == 0 and not trial.report(step, loss=loss.item()):
            return
        for each in optimizers:
            each.zero_grad()
        loss.backward()
        BEFORE
        for each in optimizers:
            each.step()
        AFTER
"""
ADAM = "optimizers = [torch.optim.AdamW(model.parameters(), lr=trial.learning_rate, weight_decay=0.1)]"
SGD = "optimizers = [torch.optim.SGD(model.parameters(), lr=1e-4 * trial.learning_rate)]"
MUON = """optimizers = [
        torch.optim.Muon([hidden.weight], lr=trial.learning_rate),
        torch.optim.AdamW([hidden.bias, *head.parameters()], lr=trial.knobs["adam_lr"]),
    ]"""
GROUPS = """optimizers = [torch.optim.AdamW([
        {"params": hidden.parameters()}, {"params": head.parameters(), "lr": HEAD_RATE}], lr=trial.learning_rate)]"""
CLIP = "torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)"
_count = 0


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)


def named(optimizers: str, before: str = "pass", after: str = "pass", study: Study = STUDY) -> Study:
    """A study of a trainer with these lines."""
    global _count
    _count += 1
    source = TRAINER.replace("OPTIMIZERS", optimizers).replace("BEFORE", before).replace("AFTER", after)
    Path(f"acting_{_count}.py").write_text(source)
    return replace(study, trainer=f"acting_{_count}:train")


def findings(optimizers: str, before: str = "pass", after: str = "pass", study: Study = STUDY) -> list[Finding]:
    own = named(optimizers, before, after, study)
    return list(check_acting(trainer_of(own), own, own.widths))


def texts(found: list[Finding], *levels: str) -> str:
    return "\n".join(finding.text for finding in found if finding.level in levels)


def test_a_rate_that_acts_is_right_with_the_share_of_the_weights() -> None:
    [found] = findings(ADAM)
    assert found.level == "right", found.text
    assert found.text.startswith(
        "learning_rate: twice of it doubles the first update of AdamW (4 tensors of up to 8×8)"
    )
    assert re.search(r"; of the weights, [\d.]+% at hidden 8, [\d.]+% at 32$", found.text)


def test_a_warm_up_from_zero_delays_the_first_update() -> None:
    warm = ADAM + "\n    plan = torch.optim.lr_scheduler.LambdaLR(optimizers[0], lambda step: min(step / 4, 1))"
    assert [finding.level for finding in findings(warm, after="plan.step()")] == ["right"]


def test_each_of_two_rates_reaches_its_own_optimizer() -> None:
    found = findings(MUON, study=TWO)
    assert [finding.level for finding in found] == ["right", "right"]
    first, second = (finding.text for finding in found)
    assert first.startswith("learning_rate: twice of it doubles the first update of Muon (a tensor of 8×8)")
    assert second.startswith("adam_lr: twice of it doubles the first update of AdamW (3 tensors of up to 8)")


def test_clipping_that_shrinks_the_update_is_measured_at_both_widths() -> None:
    found = findings(SGD, before=CLIP)
    assert texts(found, "right").startswith("learning_rate: twice of it doubles")
    said = texts(found, "missing")
    assert said.startswith("SGD (4 tensors of up to 8×8): clipping of gradients shrinks its first update ")
    assert "times at hidden 8, " in said and "times at hidden 32" in said
    assert texts(findings(ADAM, before=CLIP), "missing", "wrong") == ""
    assert texts(findings(MUON, before=CLIP, study=TWO), "missing", "wrong") == ""


def test_an_update_that_is_clipped_does_not_grow_with_the_rate() -> None:
    keep = "old = [weight.detach().clone() for weight in model.parameters()]"
    shrink = "\n        ".join(
        [
            "with torch.no_grad():",
            "    for weight, before in zip(model.parameters(), old):",
            "        change = weight - before",
            "        weight.copy_(before + change * min(1, 1e-6 / float(change.norm())))",
        ]
    )
    muon = f"""class Clipped(torch.optim.Muon):
        def step(self, closure=None):
            {keep.replace("model.parameters()", "[hidden.weight]")}
            super().step()
            {shrink.replace("model.parameters()", "[hidden.weight]").replace(chr(10), chr(10) + "    ")}
    {MUON.replace("torch.optim.Muon", "Clipped")}"""
    found = findings(muon, study=TWO)
    said = texts(found, "wrong")
    assert "learning_rate: expected twice of it to double a first update, but the most is 1 times at hidden 8" in said
    assert "Clipped (a tensor of 8×8): its rate doubles with learning_rate, but its first update grows 1 times" in said


def test_a_scheduler_that_overwrites_a_groups_rate_is_named() -> None:
    groups = GROUPS.replace("HEAD_RATE", "trial.knobs['adam_lr']")
    found = findings(groups, before="optimizers[0].param_groups[1]['lr'] = 0.003", study=TWO)
    said = texts(found, "wrong")
    assert "adam_lr: expected twice of it to double a first update, but the most is 1 times at hidden 8" in said
    assert (
        "group 2 of AdamW (2 tensors of up to 1×8): it is built with a rate that follows adam_lr, but its first update "
        "has 0.003 whatever adam_lr is; a scheduler overwrites its rate"
    ) in said
    assert texts(findings(groups, study=TWO), "wrong", "missing") == ""


def test_a_group_that_no_rate_reaches_is_named() -> None:
    found = findings(GROUPS.replace("HEAD_RATE", "0.003"))
    assert texts(found, "right").startswith("learning_rate: twice of it doubles the first update of group 1 of AdamW")
    assert texts(found, "missing") == (
        "group 2 of AdamW (2 tensors of up to 1×8): no rate or knob reaches it; its rate is always 0.003"
    )


def test_the_weight_decay_is_no_rate() -> None:
    study = replace(STUDY, knobs=parse_study("[knobs]\nweight_decay = '0.01..1'\nbeta = '0.9..0.99'").knobs)
    decay = ADAM.replace("0.1)", "trial.knobs['weight_decay'], betas=(0.9, trial.knobs['beta'] / 2))")
    found = texts(findings(decay, study=study), "right", "optional")
    assert "weight_decay: twice of it changes the first update" in found
    assert "beta: twice of it hardly changes the first update; it may act on later ones" in found


def test_what_cannot_be_seen_is_said() -> None:
    plain = "optimizers = []"
    by_hand = "[w.data.add_(w.grad, alpha=-1e-6 * trial.learning_rate) for w in model.parameters()]; model.zero_grad()"
    [found] = findings(plain, after=by_hand)
    assert (found.level, found.text) == (
        "optional",
        "rates that act: not looked at; no optimizer of torch makes a step",
    )
    own = replace(STUDY, command=("train.sh", "{learning_rate}"))
    [found] = check_acting(trainer_of(own), own, own.widths)
    assert found.text == "rates that act: not looked at; the weights of a program cannot be seen"


def test_a_rate_of_weights_that_torch_does_not_move_is_not_judged() -> None:
    by_hand = "[w.data.add_(w.grad, alpha=-1e-3 * trial.knobs['adam_lr']) for w in head.parameters()]; head.zero_grad()"
    found = findings("optimizers = [torch.optim.AdamW(hidden.parameters(), trial.learning_rate)]", by_hand, study=TWO)
    assert texts(found, "wrong", "missing") == ""
    assert texts(found, "optional") == "adam_lr: not looked at; it sets no rate of an optimizer of torch"


def test_the_check_runs_it_and_torch_is_as_before() -> None:
    import torch

    before = torch.optim.Optimizer.add_param_group, torch.nn.utils.clip_grad._clip_grads_with_norm_
    found = list(check_trainer(named(MUON, study=TWO)))
    assert texts(found, "wrong", "missing") == ""
    right = texts(found, "right")
    assert "adam_lr: another one gives another loss" in right
    assert "adam_lr: twice of it doubles the first update of AdamW" in right
    assert (torch.optim.Optimizer.add_param_group, torch.nn.utils.clip_grad._clip_grads_with_norm_) == before
    blind = list(check_trainer(named(ADAM, study=TWO)))
    assert 'adam_lr: a quarter of it gave the same losses; is trial.knobs["adam_lr"] used?' in texts(blind, "wrong")
