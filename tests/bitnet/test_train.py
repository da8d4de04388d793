"""The trainer as a search calls it: reports, options, memory of a stopped run."""

import dataclasses
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import bitnet.run as module  # noqa: E402
from bitnet.execution import memory, probe  # noqa: E402
from bitnet.execution.decide import should_compile  # noqa: E402
from bitnet.model import measures  # noqa: E402
from bitnet.model.decoder import hidden_states, initial_parameters, views  # noqa: E402
from bitnet.settings.config import ModelConfig  # noqa: E402
from bitnet.settings.options import PER_MEMBER, Options, parse_options  # noqa: E402
from bitnet.ternary import arithmetic, kernels, plain  # noqa: E402
from bitnet.train import check, prepare, tokens_per_step, train, train_population  # noqa: E402
from bitnet.training.population import Population  # noqa: E402
from lrtune.diversity import diversity, entropy  # noqa: E402
from lrtune.errors import InputError  # noqa: E402
from lrtune.study.knob import KNOBS  # noqa: E402
from lrtune.study.study import Study  # noqa: E402
from lrtune.trainer.trial import Facts, Interrupted, Report, Trial  # noqa: E402

pytestmark = pytest.mark.slow

VOCABULARY = 48
HERE = arithmetic.choose(torch.device("cpu"))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A token folder made by hand: a text in which each token is mostly followed by its successor."""
    folder = tmp_path_factory.mktemp("tokens")
    random = np.random.default_rng(0)
    parts = {}
    for name, count in (("train", 6000), ("validation", 1500)):
        jumps = np.where(random.random(count) < 0.8, 1, random.integers(0, VOCABULARY, count))
        parts[name] = (np.cumsum(jumps) % VOCABULARY).astype("<u2")
        parts[name].tofile(folder / f"{name}.bin")
    meta = {"schema": 1, "vocabulary_size": VOCABULARY, "dtype": "<u2", "fingerprint": "f" * 16, "facts": {}}
    meta |= {name: len(ids) for name, ids in parts.items()}
    (folder / "meta.json").write_text(json.dumps(meta))
    return str(folder)


def options(tokens: str, **changes: Any) -> dict[str, Any]:
    small = {"depth": 1, "context": 16, "batch": 4, "final_tokens": 512, "report_tokens": 320}
    return {"tokens": tokens, **small, **changes}


def trial(tokens: str, *, rate: float = 0.01, steps: int = 12, **settings: Any) -> tuple[Trial, list[Report]]:
    reports: list[Report] = []

    def keep(report: Report) -> bool:
        reports.append(report)
        return True

    changes = settings.pop("changes", {})
    defaults: dict[str, Any] = {"report_every": 4, "on_report": keep, "threads": 1}
    made = Trial(
        hidden_size=32, learning_rate=rate, steps=steps, options=options(tokens, **changes), **(defaults | settings)
    )
    return made, reports


def test_a_run_learns_and_reports_everything(tokens: str) -> None:
    facts: list[Facts] = []
    one, reports = trial(tokens, steps=90, report_every=40, on_describe=facts.append)
    train(one)
    assert [report.step for report in reports] == [0, 40, 80, 90]
    first, last = reports[0], reports[-1]
    unigram = facts[0].unigram_entropy
    assert unigram is not None
    assert first.loss == pytest.approx(math.log(VOCABULARY), abs=0.05)  # uniform at the start
    assert last.loss < unigram - 0.5 and last.diversity is not None and last.diversity > 0.5
    assert last.numbers["loss_minus_unigram"] == pytest.approx(last.loss - unigram)
    assert 0 < last.numbers["flipped_share"] < 1 and "flipped_share" not in first.numbers
    assert 0.2 < first.numbers["zero_share"] < 0.4  # a normal weight is below half the mean size with 31%
    assert first.numbers["weight_rms"] == pytest.approx(0.02, rel=0.05)
    assert 1 <= last.numbers["distinct"] <= 20 and 1 <= last.numbers["distinct_random"] <= 20
    assert last.numbers["grad_norm"] > 0 and 0 < last.numbers["update_ratio"] < 0.1
    assert facts[0].parameters == 2 * VOCABULARY * 32 + 4 * 32 * 32 + 2 * 32 * 128
    assert facts[0].tokens_per_step == 64 and facts[0].batch_size == 4 and facts[0].regime_changes == (45,)
    assert facts[0].conditions["weight_decay_stage2"] == 0.0 and facts[0].conditions["warmup_steps"] == 9
    by_kernels = kernels.library() is not None
    assert facts[0].plan == {"gradients": "fp32", "members": 1, "compiled": False, "kernels": by_kernels}


def test_the_same_trial_gives_the_same_bits_and_another_seed_others(tokens: str) -> None:
    runs = []
    for seed in (0, 0, 1):
        one, reports = trial(tokens, seed=seed)
        train(one)
        runs.append(reports)
    assert runs[0] == runs[1] and runs[0] != runs[2]


def test_the_switch_of_weight_decay_is_felt_where_it_happens(tokens: str) -> None:
    losses = {}
    for decay in (0.0, 30.0):
        one, reports = trial(tokens, steps=8, report_every=1, changes={"weight_decay_stage2": decay})
        train(one)
        losses[decay] = [report.loss for report in reports]
    assert losses[0.0][:5] == losses[30.0][:5]  # steps 0 … 4, stage 1
    assert losses[0.0][5] != losses[30.0][5]  # the update at step 4 is the first of stage 2


@pytest.mark.parametrize("stop", [4, 8])
@pytest.mark.parametrize(
    "more", [{}, {"optimizer": "muon", "schedule": "wsd", "parametrization": "mup", "base_width": 16}]
)
def test_a_stopped_run_resumes_bit_for_bit(tokens: str, tmp_path: Path, stop: int, more: dict[str, Any]) -> None:
    changes = {"warmup": "adaptive", "warmup_steps": 6, "label_smoothing": 0.1, **more}
    whole, expected = trial(tokens, changes=changes)
    train(whole)

    def stop_there(report: Report) -> bool:
        if report.step == stop:
            raise Interrupted
        return True

    first, _ = trial(tokens, changes=changes, on_report=stop_there)
    first = dataclasses.replace(first, checkpoint_dir=tmp_path, is_checkpoint_due=lambda: True)
    with pytest.raises(Interrupted):
        train(first)
    second, reports = trial(tokens, changes=changes, checkpoint_dir=tmp_path)
    train(second)
    assert reports == [report for report in expected if report.step >= stop]
    assert not list(tmp_path.iterdir())  # a finished run needs none


@pytest.mark.parametrize("damage", ["other rate", "other knob", "torn", "not a checkpoint", "hostile"])
def test_a_checkpoint_that_does_not_fit_is_passed_over(
    tokens: str, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    def stop_at_4(report: Report) -> bool:
        if report.step == 4:
            raise Interrupted
        return True

    one, _ = trial(tokens, on_report=stop_at_4, checkpoint_dir=tmp_path, is_checkpoint_due=lambda: True)
    with pytest.raises(Interrupted):
        train(one)
    file = tmp_path / "bitnet.pt"
    if damage == "torn":
        file.write_bytes(file.read_bytes()[:500])
    if damage == "not a checkpoint":
        torch.save([1, 2], file)
    if damage == "hostile":
        torch.save({"identity": Path("/")}, file)  # a class, which weights_only refuses to build
    rate, knobs = 0.02 if damage == "other rate" else 0.01, {"weight_decay": 0.5} if damage == "other knob" else {}
    again, reports = trial(tokens, rate=rate, knobs=knobs, checkpoint_dir=tmp_path)
    train(again)
    assert [report.step for report in reports] == [0, 4, 8, 12]
    assert "starting from step 0" in caplog.text


def test_a_full_disk_costs_the_checkpoint_and_not_the_run(
    tokens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    one, reports = trial(tokens, checkpoint_dir=tmp_path, is_checkpoint_due=lambda: True)
    train(one)
    assert reports[-1].step == 12 and "No space left" in caplog.text
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("gap_stays", [False, True])
def test_members_that_are_turned_down_leave_and_the_others_stay_as_alone(
    tokens: str, gap_stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if gap_stays:  # as on a GPU, where a smaller batch has its price
        monkeypatch.setattr(Population, "worthwhile_size", 1)
    rates = (0.005, 0.02, 0.01)
    trials, reports = zip(*(trial(tokens, rate=rate) for rate in rates), strict=True)
    dropped = dataclasses.replace(trials[1], on_report=lambda report: reports[1].append(report) or report.step < 4)
    train_population([trials[0], dropped, trials[2]])
    assert [[report.step for report in each] for each in reports] == [[0, 4, 8, 12], [0, 4], [0, 4, 8, 12]]
    for rate, together in zip(rates, reports, strict=True):
        one, alone = trial(tokens, rate=rate)
        train(one)
        for a, b in zip(alone, together, strict=False):
            assert a.loss == pytest.approx(b.loss, rel=0.02)


def test_trials_that_cannot_share_a_population_are_trained_in_turn(tokens: str) -> None:
    one, first = trial(tokens, changes={"optimizer": "adam-l2", "weight_decay": 0.01})
    two, second = trial(tokens, changes={"depth": 2})
    train_population([one, two])
    assert first[-1].step == second[-1].step == 12


def test_muon_has_a_second_rate_and_its_trials_share_no_population_with_others(tokens: str) -> None:
    runs, facts = [], list[Facts]()
    for changes in (
        {},
        {"optimizer": "muon"},
        {"optimizer": "muon", "adam_lr": 0.01},
        {"optimizer": "muon", "adam_lr": 0.03},
    ):
        one, reports = trial(tokens, changes=changes, on_describe=facts.append)
        runs.append((one, reports))
    train_population([one for one, _ in runs])
    knob, same = trial(tokens, changes={"optimizer": "muon", "adam_lr": 0.5}, knobs={"adam_lr": 0.03})
    train(knob)
    assert same == runs[3][1]  # a knob overrides the option
    train(trial(tokens, knobs={"weight_decay": 0.5}, on_describe=facts.append)[0])
    assert "weight_decay" not in facts.pop().conditions  # what differs from run to run is no setting
    losses = [reports[-1].loss for _, reports in runs]
    assert losses[1] == losses[2] and len(set(losses)) == 3  # the default is the learning rate, 0.01
    assert [each.plan["members"] for each in facts] == [1, 3, 3, 3]


def test_memory_that_does_not_suffice_halves_the_population(
    tokens: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original, sizes = module._train_together, []

    def crowded(trials: list[Trial]) -> None:
        sizes.append(len(trials))
        if len(trials) > 2:
            raise torch.OutOfMemoryError("too many")
        original(trials)

    monkeypatch.setattr(module, "_train_together", crowded)
    trials, reports = zip(*(trial(tokens, rate=0.001 * (k + 1)) for k in range(5)), strict=True)
    train_population(trials)
    assert sizes == [5, 3, 2, 1, 2]
    assert all(each[-1].step == 12 for each in reports)
    assert "5 models of width 32 do not fit into memory; 3 at once" in caplog.text


def test_measures_are_those_of_the_written_definitions() -> None:
    config = ModelConfig(hidden_size=16, vocabulary_size=24, depth=1)
    flat = torch.stack([initial_parameters(config, seed=seed, std=0.3) for seed in (0, 1)])
    parameters = views(flat, config)
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 24, (30, 9)))
    held_out = measures.HeldOut.of(ids, ids[:7], torch.bincount(ids.flatten(), minlength=24), "cpu")
    extra = {"mine": torch.tensor([1.0, 2.0])}
    got = measures.measure(parameters, config, held_out, arithmetic=HERE, is_final=False, extra=extra)
    final = measures.measure(parameters, config, held_out, arithmetic=HERE, is_final=True, extra=extra)
    reference = torch.bincount(ids[:, 1:].flatten(), minlength=24).tolist()
    scores = hidden_states(parameters, ids[None, :, :-1], config, arithmetic=HERE) @ parameters["head"].transpose(1, 2)
    for k in range(2):
        answers = scores[k].argmax(-1)
        losses = torch.nn.functional.cross_entropy(scores[k], ids[:, 1:].flatten(), reduction="none")
        predicted = torch.bincount(answers, minlength=24).tolist()
        assert got["loss"][k] == pytest.approx(losses.mean().item(), rel=1e-5)
        assert final["loss"][k] == pytest.approx(losses[: 7 * 8].mean().item(), rel=1e-5)
        assert got["diversity"][k] == pytest.approx(diversity(predicted, reference), rel=1e-6)
        assert got["effective_vocabulary"][k] == pytest.approx(math.exp(entropy(predicted)), rel=1e-6)
        at_ends = answers.view(30, 8)[:, -1]
        spread = [int(place) for place in torch.linspace(0, 29, 20)]
        assert got["distinct"][k] == len(set(at_ends[spread].tolist()))
    assert got["mine"] == [1.0, 2.0]


def test_one_answer_for_everything_has_no_diversity() -> None:
    config = ModelConfig(hidden_size=16, vocabulary_size=24, depth=1)
    flat = initial_parameters(config, seed=0).unsqueeze(0)
    parameters = views(flat, config)
    parameters["head"].zero_()  # all logits are 0, and the first token wins everywhere
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 24, (30, 9)))
    held_out = measures.HeldOut.of(ids, ids, torch.bincount(ids.flatten(), minlength=24), "cpu")
    got = measures.measure(parameters, config, held_out, arithmetic=HERE, is_final=False, extra={})
    assert str(got["diversity"]) == "[0.0]" and got["effective_vocabulary"] == [1.0]  # and not -0.0, which people read
    assert got["distinct"] == got["distinct_random"] == [1.0]
    assert got["loss"][0] == pytest.approx(math.log(24))


def test_flips_count_ternary_weights_and_nothing_else() -> None:
    before, now = torch.tensor([[0, 1, -1, 0]], dtype=torch.int8), torch.tensor([[0, 1, 1, 1]], dtype=torch.int8)
    figures = measures.weight_figures(torch.tensor([[3.0, 4.0, 0.0, 0.0]]), now, before)
    assert {name: value.item() for name, value in figures.items()} == {
        "flipped_share": 0.5,
        "zero_share": 0.25,
        "weight_rms": 2.5,
    }


def test_a_position_sees_none_after_it_and_turns_are_relative() -> None:
    config = ModelConfig(hidden_size=32, vocabulary_size=24, depth=2)
    parameters = views(initial_parameters(config, seed=0, std=0.3).unsqueeze(0), config)
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 24, (1, 1, 12)))
    changed = ids.clone()
    changed[0, 0, 8:] = (changed[0, 0, 8:] + 1) % 24
    a, b = (hidden_states(parameters, each, config, arithmetic=HERE) for each in (ids, changed))
    assert torch.equal(a[:, :8], b[:, :8]) and not torch.equal(a[:, 8:], b[:, 8:])
    # Rotary: the angle between positions 3 and 5 is that between 7 and 9.
    turns = torch.view_as_complex(plain.rotations(12, 16, torch.device("cpu"), torch.float64))[:, 0, 0]
    assert torch.allclose(turns[5] * turns[3].conj(), turns[9] * turns[7].conj())


def test_turns_by_real_numbers_are_those_by_complex_ones() -> None:
    config = ModelConfig(hidden_size=32, vocabulary_size=24, depth=1, ffn="swiglu")
    parameters = views(initial_parameters(config, seed=0, std=0.3).unsqueeze(0), config)
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 24, (1, 2, 12)))
    by_reals = arithmetic.compiled(lambda layer: layer, arithmetic.DEVICE)
    real, other = (hidden_states(parameters, ids, config, arithmetic=way) for way in (by_reals, arithmetic.DEVICE))
    assert torch.allclose(real, other, atol=1e-4)


@pytest.mark.parametrize(
    ("hidden", "changes", "heads", "ffn"),
    [
        (64, {}, 4, 256),
        (64, {"ffn": "swiglu"}, 4, 176),
        (64, {"head_size": 32}, 2, 256),
        (256, {"ffn_size": 512}, 16, 512),
    ],
)
def test_heads_and_ffn_follow_from_the_hidden_size(hidden: int, changes: Any, heads: int, ffn: int) -> None:
    config = parse_options(changes).config(hidden, 1024)
    assert (config.heads, config.ffn_width) == (heads, ffn)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weight_decya": 0.1}, "unknown key 'weight_decya'; did you mean 'weight_decay'?"),
        ({"optimizer": "sgd"}, "options.optimizer: expected one of adamw, adam-l2, muon, but got 'sgd'"),
        ({"depth": 0}, "options.depth: expected a positive whole number, but got 0"),
        ({"depth": 2.5}, "options.depth: expected a positive whole number, but got 2.5"),
        ({"label_smoothing": 1}, "options.label_smoothing: expected a number of at most 0.999, but got 1"),
        ({"clip": float("nan")}, "options.clip: expected a number of at least 0, but got nan"),
        ({"betas": [0.9]}, "options.betas: expected a list of 2 entries, but got 1"),
        ({"compile": "yes"}, "options.compile: expected one of auto, true, false, but got 'yes'"),
        ({"schedule": 3}, "options.schedule: expected one of two-stage, constant, cosine, wsd, but got 3"),
    ],
)
def test_options_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_options(values)
    assert message in str(caught.value)


def test_swept_scales_are_laid_over_the_options() -> None:
    parsed = parse_options({"depth": 4, "batch": 8}, {"depth": 2.0, "steps": 600.0, "weight_decay": 0.05})
    assert (parsed.depth, parsed.batch, parsed.weight_decay) == (2, 8, 0.05)


def test_a_batch_in_tokens_is_the_same_batch_in_sequences(tokens: str) -> None:
    facts: list[Facts] = []
    in_tokens, reports = trial(tokens, scales={"batch_tokens": 128.0}, on_describe=facts.append)
    in_sequences, expected = trial(tokens, scales={"batch": 8.0})
    train_population([in_tokens])
    train_population([in_sequences])
    assert reports == expected and facts[0].tokens_per_step == 128
    study = Study(
        options=options(tokens), scales={"batch_tokens": (64, 128), "context": (16, 32), "tokens": (2e4, 4e4)}
    )
    check(study)
    prepare(study)
    assert tokens_per_step(study, {"batch_tokens": 128.0, "context": 32.0}) == 128
    assert tokens_per_step(study, {"batch": 8.0, "context": 32.0}) == 256
    with pytest.raises(InputError, match="one batch"):
        prepare(Study(options=options(tokens), scales={"batch_tokens": (64, 16_000)}))


def test_what_members_may_differ_in_are_options() -> None:
    assert set(vars(Options())) >= PER_MEMBER


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"widths": (32, 40)},
            "hidden_size: expected a positive multiple of the head size 16, but got 40; try 32 or 48",
        ),
        ({"arms": {"b": {"learning_rate": 0.1, "smoothing": 0.1}}}, "arms.b: options: unknown key 'smoothing'"),
        ({"scales": {"hight": (1.0,)}}, "scales.hight"),
        ({"scales": {"depth": (2.5,)}}, "options.depth"),
        (
            {"scales": {"batch_tokens": (256, 1000)}},
            "expected multiples of the context, 64 tokens, but got 1000",
        ),
        (
            {"scales": {"batch_tokens": (256,), "context": (64, 384)}},
            "of the context, 384 tokens, but got 256",
        ),
        ({"scales": {"batch_tokens": (256,), "batch": (4,)}}, "expected batch or batch_tokens, but got both"),
        (
            {"knobs": KNOBS("knobs", {"adam_lr": "1e-3..1e-1"})},
            "knobs.adam_lr: expected optimizer muon, but adamw has one rate",
        ),
        ({"knobs": KNOBS("knobs", {"adam_rate": "1e-3..1e-1"})}, "knobs.adam_rate: expected one of"),
    ],
)
def test_a_study_that_cannot_be_trained_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        check(Study(**changes))
    assert message in str(caught.value)


def test_prepare_names_the_data_and_refuses_too_little(tokens: str) -> None:
    study = Study(options=options(tokens), arms={"slow": {"learning_rate": 0.0005, "clip": 0.1}})
    check(study)
    assert prepare(study) == {"tokens": "f" * 16}
    with pytest.raises(InputError, match="one batch"):
        prepare(Study(options=options(tokens, batch=1000)))


@pytest.mark.parametrize(
    ("loaded", "ffn", "compiled"), [(None, "squared-relu", True), ({}, "squared-relu", False), ({}, "swiglu", True)]
)
def test_a_run_compiles_where_that_pays_and_there_are_no_kernels(
    loaded: Any, ffn: Any, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "library", lambda: loaded)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    asked: list[tuple[int, int]] = []
    pays = [True]

    def compiling_pays(shape: Any, *, members: int, steps: int) -> bool:
        asked.append((members, steps))
        return pays[0]

    monkeypatch.setattr(probe, "compiling_pays", compiling_pays)
    one, _ = trial("tokens", steps=700)
    config = ModelConfig(hidden_size=64, vocabulary_size=1024, ffn=ffn)
    assert should_compile(Options(), config, [one, one]) is compiled
    assert asked == [(2, 700)] * compiled
    assert should_compile(Options(compile=True), config, [one])
    pays[0] = False
    assert not should_compile(Options(), config, [one])
    pays[0] = True
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert not should_compile(Options(), config, [one])


def test_a_resumed_run_stays_uncompiled_whatever_a_later_probe_finds(
    tokens: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop_at_4(report: Report) -> bool:
        if report.step == 4:
            raise Interrupted
        return True

    whole, expected = trial(tokens)
    train(whole)
    first, _ = trial(tokens, on_report=stop_at_4, checkpoint_dir=tmp_path, is_checkpoint_due=lambda: True)
    with pytest.raises(Interrupted):
        train(first)
    monkeypatch.setattr(module, "should_compile", lambda *_: True)
    facts: list[Facts] = []
    second, reports = trial(tokens, checkpoint_dir=tmp_path, on_describe=facts.append)
    train(second)
    assert facts[0].plan["compiled"] is False
    assert reports == [report for report in expected if report.step >= 4]


def test_on_a_cpu_memory_that_would_not_suffice_halves_before_the_system_ends_the_process(
    tokens: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = parse_options(options(tokens)).config(32, VOCABULARY)
    each = memory.bytes_each(one, tokens=64, device="cpu")
    original, sizes = module._train_together, []
    monkeypatch.setattr(memory, "free_bytes", lambda device: 3 * each)  # of which two fit
    monkeypatch.setattr(module, "_train_together", lambda trials: (sizes.append(len(trials)), original(trials)))
    trials, reports = zip(*(trial(tokens, rate=0.001 * (k + 1)) for k in range(5)), strict=True)
    train_population(trials)
    assert sizes == [2, 2, 1]
    assert all(each[-1].step == 12 for each in reports)
    assert caplog.messages == ["5 models of width 32 do not fit into memory; 2 at once"]


def test_low_precision_that_is_not_faster_is_replaced_by_exact_with_a_message(
    tokens: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "choose", lambda device: arithmetic.TILES)
    module._warn_exact.cache_clear()
    facts: list[Facts] = []
    runs = []
    for precision in ("bf16", "low", "fp32"):
        one, reports = trial(tokens, changes={"precision": precision}, on_describe=facts.append)
        train(one)
        runs.append([report.loss for report in reports])
    assert runs[0] == runs[1] == runs[2] and [each.plan["gradients"] for each in facts] == ["fp32"] * 3
    assert caplog.messages == ["precision low is no faster than fp32 on this processor; gradients are fp32"]
