"""The forms for a CPU's cache equal the plain ones, in value and gradient."""

import dataclasses
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bitnet.model.loss import training_loss  # noqa: E402
from bitnet.settings.config import ModelConfig  # noqa: E402
from bitnet.settings.schedule import Schedule  # noqa: E402
from bitnet.ternary import arithmetic, plain, tiles  # noqa: E402
from bitnet.ternary.reference import How  # noqa: E402
from bitnet.training import cpu, device_steps  # noqa: E402
from bitnet.training.population import Member, Population  # noqa: E402


def normal(*shape: int, seed: int, dtype: Any = torch.float64) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


@pytest.mark.parametrize("rows", [2**18, 64 * 32])  # all 150 tokens at once, and 64, 64 and 22 of them
def test_ffn_in_tiles_is_the_plain_one(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "_TILE", rows)
    x, up, down = normal(2, 150, 16, seed=0), normal(2, 1, 32, 16, seed=1), normal(2, 1, 16, 32, seed=2)
    weights = normal(2, 150, 16, seed=3).detach()
    whole = plain.feed_forward(x, up, down, How(1, "squared-relu", "fp32"))
    tiled = tiles.squared_relu_ffn(x, up, down)
    assert torch.allclose(tiled, whole, rtol=1e-12)
    grads = [torch.autograd.grad((y * weights).sum(), (x, up, down)) for y in (whole, tiled)]
    for wanted, got in zip(*grads, strict=True):
        assert torch.allclose(got, wanted, rtol=1e-9, atol=1e-12)


def test_attention_with_one_gradient_is_the_plain_one() -> None:
    qkv, weights = normal(3, 10, 3, 2, 8, seed=0), normal(3, 10, 2, 8, seed=1).detach()
    turns = plain.rotations(10, 8, torch.device("cpu"), torch.float64)
    outs = [plain.attention(qkv, turns), tiles.attention(qkv, turns)]
    assert torch.allclose(outs[0], outs[1], rtol=1e-12)
    grads = [torch.autograd.grad((y * weights).sum(), qkv)[0] for y in outs]
    assert torch.allclose(grads[0], grads[1], rtol=1e-9, atol=1e-12)


def test_loss_in_slices_has_the_gradient_of_cross_entropy() -> None:
    small = dataclasses.replace(arithmetic.TILES, logits_at_once=20 * 24 * 2)  # 20 of 50 tokens at once
    states, head = normal(2, 50, 8, seed=0), normal(2, 24, 8, seed=1)
    targets = torch.from_numpy(np.random.default_rng(0).integers(0, 24, (2, 50)))
    smoothing = torch.tensor([0.0, 0.1], dtype=torch.float64)
    ours = training_loss(states, head, targets, smoothing, arithmetic=small)
    scores = states @ head.transpose(1, 2)
    wanted = [
        torch.nn.functional.cross_entropy(scores[k], targets[k], label_smoothing=smoothing[k].item()) for k in range(2)
    ]
    bare = [torch.nn.functional.cross_entropy(scores[k], targets[k]) for k in range(2)]
    assert ours.tolist() == pytest.approx([loss.item() for loss in bare])  # without the smoothing term
    got = torch.autograd.grad(ours.sum(), (states, head))
    for a, b in zip(got, torch.autograd.grad(sum(wanted), (states, head)), strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-12)


def test_a_compiler_that_fails_costs_a_line_and_not_the_run(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("c++: not found\nmore lines")

    monkeypatch.setattr(device_steps, "compile_for_training", lambda function, **_: broken)
    data = np.random.default_rng(0).integers(0, 24, (4, 9))
    runs = []
    for compiled in (True, False):
        one = Population(
            ModelConfig(hidden_size=16, vocabulary_size=24, depth=1),
            [Member(seed=0, schedule=Schedule(peak=0.01, steps=4))],
            lambda seed, step: data,
            stepper=device_steps.DeviceSteps(compiled=compiled),
        )
        one.advance(3)
        runs.append(one.state.parameters)
    assert torch.equal(*runs)
    assert [record.getMessage() for record in caplog.records] == [
        "compiling failed (RuntimeError: c++: not found); continuing uncompiled"
    ]


def test_subnormal_numbers_are_zero_in_training_only() -> None:
    def tiny() -> Any:
        return torch.full((64,), 1e-30) * 1e-12  # 1e-42 is below the smallest normal float32, 1.2e-38

    with cpu.tiny_as_zero():
        assert not tiny().any()
    assert tiny().all()


def test_a_settled_process_has_its_threads() -> None:
    before = torch.get_num_threads()
    try:
        cpu.settle(1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
