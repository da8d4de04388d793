"""How many models are trained at once, and whether they are compiled: from given times and memory, exactly."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from bitnet.execution import (  # noqa: E402
    measured,
    memory,
    probe,
    timing,
)
from bitnet.execution.timing import Shape, StepTime, time_steps  # noqa: E402
from bitnet.model.decoder import hidden_states, initial_parameters, views  # noqa: E402
from bitnet.settings.config import ModelConfig  # noqa: E402
from bitnet.ternary.arithmetic import DEVICE  # noqa: E402
from bitnet.train import members_at_once  # noqa: E402
from lrtune.trainer.find import resolve_trainer  # noqa: E402
from lrtune.trainer.trial import Trial  # noqa: E402

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
SHAPE = Shape(config=ModelConfig(hidden_size=32, vocabulary_size=64, depth=1), batch=2, context=8)
LONG = 10**7  # steps that no flop count takes for short


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, and nothing kept in the process from the test before."""
    monkeypatch.setenv("LRTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(measured, "_in_this_process", {})
    return tmp_path / "cache" / "measured"


@pytest.mark.parametrize(
    ("seconds", "members"),
    [
        ({}, 1),
        ({1: 2.0}, 1),
        ({1: 2.0, 2: 2.0, 4: 2.0}, 4),  # a step takes as long whatever is in it
        ({1: 1.0, 2: 2.0, 4: 2.0}, 1),  # a core: two take twice as long; nothing beyond is looked at
        ({1: 1.0, 2: 1.7, 4: 3.1}, 2),  # × 1.18, then × 1.097
        ({1: 23.0, 2: 40.0}, 2),  # just 1.15 times the tokens a second
        ({1: 22.9, 2: 40.0}, 1),
        ({1: 2.2, 2: 2.9, 4: 4.3, 8: 7.4, 16: 13.9}, 8),  # × 1.52, 1.35, 1.16, 1.06
    ],
)
def test_members_double_for_as_long_as_that_brings_fifteen_per_cent(seconds: dict[int, float], members: int) -> None:
    assert probe.fastest(seconds) == members


def doublings(
    step: Callable[[int], float], *, most: int = 10**9, ticks: Callable[[], float] = lambda: 0.0
) -> tuple[dict[int, float], list[tuple[int, int]]]:
    said: list[tuple[int, int]] = []
    found = probe.time_doublings(
        step, holds=lambda count: count <= most, say=lambda *halved: said.append(halved), clock=ticks
    )
    return found, said


def crowded(count: int) -> float:
    if count > 4:
        raise torch.OutOfMemoryError("too many")
    return 1.0


def test_a_probe_stops_when_more_members_no_longer_pay() -> None:
    assert doublings(lambda count: 1.0) == (dict.fromkeys((1, 2, 4, 8, 16, 32, 64), 1.0), [])
    assert doublings(lambda count: float(count)) == ({1: 1.0, 2: 2.0}, [])


def test_memory_that_runs_out_in_a_probe_halves_the_members_with_a_message() -> None:
    assert doublings(crowded) == ({1: 1.0, 2: 1.0, 4: 1.0}, [(8, 4)])


def test_what_memory_should_not_hold_is_not_tried() -> None:
    assert doublings(lambda count: 1.0 if count <= 2 else pytest.fail("tried"), most=2) == ({1: 1.0, 2: 1.0}, [(4, 2)])


def test_one_model_that_does_not_fit_is_left_to_its_trainer() -> None:
    assert doublings(lambda count: crowded(8)) == ({}, [])


def test_a_probe_ends_after_seconds_of_which_the_first_start_is_none() -> None:
    times = iter([0.0, 100.0, 101.0, 102.0, 103.1])
    # It counts from 100, when the device was set up and one member timed; at 103.1 three seconds are over.
    assert doublings(lambda count: 1.0, ticks=lambda: next(times)) == ({1: 1.0, 2: 1.0, 4: 1.0}, [])


@pytest.mark.parametrize(
    ("count", "each", "free", "fit"),
    [
        (16, 10, 200, 16),  # 160 of the 160 that are given away of 200
        (16, 10, 199, 8),
        (16, 10, 20, 1),
        (16, 10, 1, 1),  # less than one cannot be
        (12, 10, 40, 3),
        (64, 10**12, None, 64),  # a device that does not say
        (1, 10, 1, 1),
    ],
)
def test_members_are_halved_until_memory_holds_them(count: int, each: int, free: int | None, fit: int) -> None:
    assert memory.most_that_fit(count, each, free) == fit


@pytest.mark.parametrize("ffn", ["squared-relu", "swiglu"])
def test_the_estimate_counts_what_a_layer_keeps_for_its_gradient(ffn: Any) -> None:
    """Two depths, so that what is not of the layers cancels; in the plain form, as on a GPU, with integers of int8."""
    plain = dataclasses.replace(DEVICE, product="int8")
    tokens, kept, ids = 3 * 40, [], torch.zeros(1, 3, 40, dtype=torch.long)
    for depth in (1, 3):
        config = ModelConfig(hidden_size=64, vocabulary_size=64, depth=depth, ffn=ffn)
        flat = initial_parameters(config, seed=0).unsqueeze(0).requires_grad_()
        storages: dict[int, int] = {}

        def pack(tensor: Any, storages: dict[int, int] = storages) -> Any:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            states = hidden_states(views(flat, config), ids, config, arithmetic=plain)
        kept.append(sum(storages.values()))
        del states
    one = ModelConfig(hidden_size=64, vocabulary_size=64, depth=1, ffn=ffn)
    weights = 4 * 64 * 64 + (one.gates + 1) * 64 * one.ffn_width
    expected = memory.layer_bytes(one, tokens=tokens, stored=1, in_tiles=False) + weights
    assert (kept[1] - kept[0]) / 2 == pytest.approx(expected, rel=0.1)


def test_the_estimate_for_a_gpu_is_that_of_the_written_terms() -> None:
    # D 32, F 128, V 64, depth 1, N 16: P' = 4 · 32² + 2 · 32 · 128 = 12,288, P = P' + 2 · 64 · 32 = 16,384; i = 2.
    # lasting: (12 + 4 + 4) P + 2 P' = 352,256
    # layer: N D (3 · 6 + 24) = 21,504, N F (6 + 4) = 20,480; once: 12 N F = 24,576 (8 N V is less)
    # step: (4 + 12) P + 2 P' + 41,984 + 24,576 = 353,280, twice
    assert memory.bytes_each(SHAPE.config, tokens=16, device="cuda:0") == 352_256 + 2 * 353_280


def stand_in(seconds: Callable[[int], float], calls: list[Any]) -> Callable[..., StepTime]:
    def time_them(shape: Shape, members: int, *, compiled: bool = False) -> StepTime:
        calls.append((members, compiled))
        return StepTime(step=seconds(members) / (4 if compiled else 1), before=30.0, compiled=compiled)

    return time_them


def test_the_same_members_after_a_restart(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(probe, "time_steps", stand_in({1: 1.0, 2: 1.1, 4: 1.3, 8: 2.5}.__getitem__, calls))
    assert probe.members_worth_training(SHAPE) == 4 and len(calls) == 4
    measured._in_this_process.clear()
    monkeypatch.setattr(probe, "time_steps", stand_in(lambda members: 1.0, calls))  # other times by now
    assert probe.members_worth_training(SHAPE) == 4 and len(calls) == 4
    assert len(list(cache.iterdir())) == 1
    for other in (
        dataclasses.replace(SHAPE, batch=4),
        dataclasses.replace(SHAPE, context=16),
        dataclasses.replace(SHAPE, gradient="low"),
        dataclasses.replace(SHAPE, config=dataclasses.replace(SHAPE.config, hidden_size=64)),
    ):
        assert probe.members_worth_training(other) == 64
    monkeypatch.setattr(torch, "__version__", "99.0")
    assert probe.members_worth_training(SHAPE) == 64


def test_short_memory_halves_the_members_with_a_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(probe, "time_steps", stand_in(lambda members: 1.0, []))
    assert probe.members_worth_training(SHAPE) == 64
    each = memory.bytes_each(SHAPE.config, tokens=16, device="cpu")
    monkeypatch.setattr(memory, "free_bytes", lambda device: 30 * each)  # of which 24 are given away
    assert probe.members_worth_training(SHAPE) == 16
    assert caplog.messages == ["64 models of width 32 do not fit into memory; 16 at once"]


def test_an_out_of_memory_error_in_the_probe_halves_the_members_with_a_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(probe, "time_steps", stand_in(crowded, []))
    assert probe.members_worth_training(SHAPE) == 4
    assert caplog.messages == ["8 models of width 32 do not fit into memory; 4 at once"]


def test_an_error_for_want_of_memory_lets_go_of_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(timing, "_time_steps", full)
    with pytest.raises(torch.OutOfMemoryError, match="full") as caught:
        time_steps(SHAPE, 2)
    assert caught.value.__context__ is None, "its frames would keep the population"


def test_real_steps_are_timed_and_decide(cache: Path) -> None:
    found = time_steps(SHAPE, 2)
    assert found.step > 0 and found.before > 0 and not found.compiled
    count = probe.members_worth_training(SHAPE)
    (kept,) = cache.iterdir()
    answer = json.loads(kept.read_text())["answer"]
    assert count == probe.fastest({int(members): seconds for members, seconds in answer.items()})
    assert list(answer)[:2] == ["1", "2"]
    assert (memory.free_bytes("cpu") or 0) > 2**20


@pytest.mark.parametrize(
    ("plain", "compiled", "cost", "steps", "pays"),
    [
        (0.010, 0.004, 30.0, 10_000, True),  # saves 60 s
        (0.010, 0.004, 30.0, 5_001, True),
        (0.010, 0.004, 30.0, 4_999, False),
        (0.010, 0.011, 0.1, 10**9, False),  # slower
        (0.010, 0.010, 0.1, 10**9, False),
    ],
)
def test_compiling_is_repaid_by_what_it_saves(
    plain: float, compiled: float, cost: float, steps: int, pays: bool
) -> None:
    assert probe.is_repaid(plain, compiled, cost, steps) is pays


@pytest.mark.parametrize(
    ("seconds", "most_saved", "worth"), [(89.0, 2 / 3, False), (91.0, 2 / 3, True), (179.0, 1 / 3, False)]
)
def test_compiling_is_tried_where_the_best_case_repays_it_twice(seconds: float, most_saved: float, worth: bool) -> None:
    assert probe.worth_trying_to_compile(seconds, most_saved) is worth


def test_finding_out_whether_to_compile_costs_what_the_run_is_worth(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(probe, "time_steps", stand_in(lambda members: 1e-4 * members, calls))
    asked = {"members": 2}
    assert not probe.compiling_pays(SHAPE, steps=100, **asked) and calls == []  # not even timed
    # 2e-4 s a step: 180 s are 900,000 steps, of which a compiled one saves 1.5e-4.
    assert not probe.compiling_pays(SHAPE, steps=899_000, **asked) and calls == [(2, False)]
    assert probe.compiling_pays(SHAPE, steps=901_000, **asked) and calls == [(2, False), (2, True)]
    measured._in_this_process.clear()
    monkeypatch.setattr(probe, "time_steps", stand_in(lambda members: pytest.fail("measured again"), calls))
    assert probe.compiling_pays(SHAPE, steps=901_000, **asked)
    # What is known by now would compile this one too; it is decided as it was before.
    assert not probe.compiling_pays(SHAPE, steps=899_000, **asked)


def test_where_compiling_fails_nothing_is_compiled_and_nothing_kept(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    calls: list[int] = []

    def failing(shape: Shape, members: int, *, compiled: bool = False) -> StepTime:
        calls.append(compiled)
        return StepTime(step=1.0, before=1.0, compiled=False)  # as a population that fell back

    monkeypatch.setattr(probe, "time_steps", failing)
    for _ in range(2):
        assert not probe.compiling_pays(SHAPE, members=1, steps=LONG)
    assert calls == [False, True], "once a process"
    assert [json.loads(file.read_text())["question"]["what"] for file in cache.iterdir()] == ["step"]


def test_other_devices_are_not_compiled_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "time_steps", stand_in(lambda members: pytest.fail("timed"), []))
    assert not probe.compiling_pays(dataclasses.replace(SHAPE, device="mps"), members=1, steps=LONG)


# What is kept on disk


def ask(value: float | None) -> dict[str, float]:
    def measure() -> dict[str, float]:
        assert value is not None, "measured again"
        return {"step": value}

    return measured.measured({"what": "test"}, measure)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "\x00" * 100,
        lambda text: "[" * 100_000,
        lambda text: "[1, 2]",
        lambda text: json.dumps({"question": {"what": "other", "schema": 1}, "answer": {"step": 5.0}}),
        lambda text: text.replace("1.5", "NaN"),
        lambda text: text.replace("1.5", "-1.5"),
        lambda text: text.replace("1.5", '"fast"'),
        lambda text: text.replace("1.5", "null"),
        lambda text: text.replace('"step": 1.5', ""),
    ],
)
def test_a_damaged_or_foreign_file_is_passed_over_and_replaced(cache: Path, damage: Callable[[str], str]) -> None:
    assert ask(1.5) == {"step": 1.5} == ask(None)
    (file,) = cache.iterdir()
    file.write_text(damage(file.read_text()))
    assert ask(2.5) == {"step": 2.5} == ask(None)
    assert list(cache.iterdir()) == [file]


def test_of_two_who_measure_at_once_the_first_answer_stands(cache: Path) -> None:
    def slow() -> dict[str, float]:
        assert ask(1.5) == {"step": 1.5}  # another process, meanwhile
        return {"step": 2.5}

    assert measured.measured({"what": "test"}, slow) == {"step": 1.5} == ask(None)
    assert len(list(cache.iterdir())) == 1


def test_where_links_cannot_be_made_answers_are_still_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    assert ask(1.5) == {"step": 1.5} == ask(None)
    assert len(list(cache.iterdir())) == 1


def test_where_nothing_can_be_kept_a_process_decides_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LRTUNE_CACHE", str(tmp_path / "file"))
    assert ask(1.5) == {"step": 1.5} == ask(None)
    measured._in_this_process.clear()
    assert ask(2.5) == {"step": 2.5}


def test_a_probe_needs_torch_and_numpy_alone(tmp_path: Path) -> None:
    code = """
import sys
for name in ("platformdirs", "filelock", "datasets", "tokenizers", "optuna", "rich", "psutil"):
    sys.modules[name] = None
import bitnet.run
from bitnet.execution import probe
from bitnet.settings.config import ModelConfig
shape = probe.Shape(config=ModelConfig(hidden_size=32, vocabulary_size=64, depth=1), batch=2, context=8)
print(probe.members_worth_training(shape) >= 1)
"""
    environment = {name: value for name, value in os.environ.items() if name != "LRTUNE_CACHE"}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "True", done.stderr
    assert len(list((tmp_path / ".cache" / "lrtune" / "measured").iterdir())) == 1


# What a worker asks


def test_on_a_cpu_processes_are_the_default_and_nothing_is_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "members_worth_training", lambda shape: pytest.fail("probed"))
    assert members_at_once(Trial(hidden_size=32, learning_rate=0.01, steps=10, options={"tokens": "none"})) == 1
    assert resolve_trainer("bitnet.train:train").members_at_once is members_at_once


@pytest.mark.gpu
def test_a_gpu_holds_what_the_estimate_says_that_it_holds() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    shape = Shape(config=ModelConfig(hidden_size=128, vocabulary_size=1024), batch=16, context=64, device="cuda")
    assert probe.members_worth_training(shape) > 1
    torch.cuda.reset_peak_memory_stats()
    time_steps(shape, 16)
    assert torch.cuda.max_memory_reserved() < 16 * memory.bytes_each(shape.config, tokens=1024, device="cuda") + 2**28
