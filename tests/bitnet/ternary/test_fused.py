"""Layers whose products are all of integers: as exact as float32, in value and gradient, however many threads."""

import logging
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from bitnet.settings.config import Gradient  # noqa: E402
from bitnet.ternary import arithmetic, digits, fused, kernels  # noqa: E402
from bitnet.ternary.arithmetic import AVX2_KERNELS, DEVICE, INT8_KERNELS, KERNELS, REFERENCE, TILES, Arithmetic  # noqa: E402
from bitnet.ternary.plain import rotations  # noqa: E402
from bitnet.ternary.reference import How  # noqa: E402

pytestmark = pytest.mark.slow

MEMBERS, SEQUENCES, LENGTH, HEADS, SIZE = 2, 3, 50, 4, 8
WIDTH, COUNT = HEADS * SIZE, SEQUENCES * LENGTH


# Torch's int8 products, where it is capped to AVX2, are not exact for digits, and never chosen.
BY_TORCH = pytest.param(
    INT8_KERNELS, marks=pytest.mark.skipif(not kernels.torch_is_exact(), reason="torch's int8 products saturate here")
)


def tensors(dtype: Any) -> list[Any]:
    """x and the four weights of two members, then the weights of the sum that is differentiated."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(COUNT, WIDTH), (3, WIDTH, WIDTH), (1, WIDTH, WIDTH), (1, 4 * WIDTH, WIDTH), (1, WIDTH, 4 * WIDTH)]
    made = [torch.randn(MEMBERS, *shape, generator=generator) for shape in [*shapes, (COUNT, WIDTH)]]
    return [tensor.to(dtype).requires_grad_(i < 5) for i, tensor in enumerate(made)]


def layer(parts: list[Any], gradient: Gradient = "fp32", way: Arithmetic = KERNELS) -> Any:
    turns = rotations(LENGTH, SIZE, torch.device("cpu"), parts[0].dtype)
    return way.layer(parts[0], parts[1:], turns, How(SEQUENCES, "squared-relu", gradient))


def value_and_gradients(
    dtype: Any, gradient: Gradient = "fp32", size: float = 1.0, way: Arithmetic = KERNELS
) -> list[Any]:
    *parts, weights = tensors(dtype)
    y = layer(parts, gradient, way)
    return [y.detach(), *torch.autograd.grad((size * y * weights).sum(), parts)]


def error(got: Any, exact: Any) -> float:
    return float((got.double() - exact).norm() / exact.norm())


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("tile", [2**19, 64 * 32])  # all tokens at once, and some at a time
@pytest.mark.parametrize("way", [KERNELS, BY_TORCH])
def test_a_layer_is_as_exact_as_float32(tile: int, way: Arithmetic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_TILE", tile)
    exact, ours = value_and_gradients(torch.float64, way=REFERENCE), value_and_gradients(torch.float32, way=way)
    plain = value_and_gradients(torch.float32, way=TILES)
    assert not torch.equal(ours[1], plain[1])  # two ways indeed
    for fixed, floating, wanted in zip(ours, plain, exact, strict=True):
        # Both round to 24 bits; where they do it differs, and with it the sum of the roundings, by a small factor.
        assert error(fixed, wanted) < 4 * error(floating, wanted) < 1e-5


@pytest.mark.usefixtures("built")
def test_the_forward_bits_are_the_same_whichever_product_runs() -> None:
    ours, torchs = (value_and_gradients(torch.float32, way=way)[0] for way in (KERNELS, INT8_KERNELS))
    assert torch.equal(ours, torchs)


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("product", ["float", "int8"])
@pytest.mark.parametrize("way", [TILES, KERNELS, BY_TORCH, DEVICE])
@pytest.mark.parametrize("ffn", ["squared-relu", "swiglu"])
def test_every_form_is_the_reference(way: Arithmetic, ffn: Any, product: Any) -> None:
    *parts, _ = tensors(torch.float64)
    parts[3] = normal_up(ffn, torch.float64)
    low = [part.detach().float().requires_grad_() for part in parts]
    turns = [rotations(LENGTH, SIZE, torch.device("cpu"), each[0].dtype) for each in (parts, low)]
    wanted = REFERENCE.layer(parts[0], parts[1:], turns[0], How(SEQUENCES, ffn, "fp32"))
    got = way.layer(low[0], low[1:], turns[1], How(SEQUENCES, ffn, "fp32", product))
    assert error(got.detach(), wanted.detach()) < 1e-5
    ours, exact = (torch.autograd.grad((y * y.detach()).sum(), each) for y, each in ((got, low), (wanted, parts)))
    for a, b in zip(ours, exact, strict=True):
        assert error(a, b) < 1e-4


def normal_up(ffn: str, dtype: Any) -> Any:
    """Weights that lead into the FFN: two matrices for SwiGLU."""
    shape = MEMBERS, 2 if ffn == "swiglu" else 1, 4 * WIDTH, WIDTH
    return torch.randn(shape, generator=torch.Generator().manual_seed(7)).to(dtype).requires_grad_()


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("way", [AVX2_KERNELS, BY_TORCH])
def test_two_digits_are_closer_than_bfloat16(way: Arithmetic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arithmetic, "_DIGITS_PAY", 0)  # also at this hidden size
    exact, ours = (
        value_and_gradients(torch.float64, way=REFERENCE),
        value_and_gradients(torch.float32, "low", way=way),
    )
    rounded = value_and_gradients(torch.float32, "low", way=TILES)
    for fixed, floating, wanted in zip(ours[1:], rounded[1:], exact[1:], strict=True):
        assert 1e-6 < error(fixed, wanted) < error(floating, wanted) / 10


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("way", [KERNELS, BY_TORCH])
def test_the_number_of_threads_changes_no_bit(way: Arithmetic) -> None:
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(value_and_gradients(torch.float32, way=way))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("way", [KERNELS, BY_TORCH])
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_size_of_the_gradient_does_not_matter(size: float, way: Arithmetic) -> None:
    usual, scaled = (value_and_gradients(torch.float32, size=each, way=way) for each in (1.0, size))
    for a, b in zip(usual[1:], scaled[1:], strict=True):
        assert error(b / size, a.double()) < 1e-5


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("way", [KERNELS, BY_TORCH])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_a_number_stays_so(bad: float, way: Arithmetic) -> None:
    *parts, weights = tensors(torch.float32)
    y = layer(parts, way=way)
    weights[0, 7, 3] = bad
    for gradient in torch.autograd.grad((y * weights).sum(), parts):
        assert not torch.isfinite(gradient[0]).all() and torch.isfinite(gradient[1]).all()
    with torch.no_grad():
        parts[0][0, 7, 3] = bad
        y = layer(parts, way=way)
    assert not torch.isfinite(y[0, 7]).any() and torch.isfinite(y[1]).all()


@pytest.mark.usefixtures("built")
def test_a_row_of_zeros_and_the_largest_digits() -> None:
    g = torch.tensor([[0.0, 0.0, 0.0], [1.0, -1.0, 2.0**-22]])
    one, made, unit = torch.ones(2), torch.empty(2, 3, 3, dtype=torch.int8), torch.empty(2)
    kernels.run("row_digits", g, 2, 3, 1, one, one, 3, made, unit, torch.zeros(4))
    assert not made[0].any() and unit[0] == 0
    # 1 is 0x7F7F00 units, and 2⁻²² rounds to 2 of them: 65536 a + 256 b + c.
    assert made[1].T.tolist() == [[127, 127, 0], [-127, -127, 0], [0, 0, 2]]
    assert unit[1].item() == pytest.approx(1 / 0x7F7F00)


@pytest.mark.usefixtures("built")
def test_a_graph_is_walked_back_once() -> None:
    *parts, _ = tensors(torch.float32)
    y = layer(parts)
    torch.autograd.grad(y.sum(), parts, retain_graph=True)
    with pytest.raises(AssertionError, match="once"):
        torch.autograd.grad(y.sum(), parts)


def test_a_compiler_that_fails_costs_a_line_and_no_compiler_none(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\necho 'cc: out of order' >&2\nexit 1\n")
    compiler.chmod(0o755)
    build = kernels.library.__wrapped__
    monkeypatch.setenv("LRTUNE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CC", str(compiler))
    with caplog.at_level(logging.WARNING):
        assert build() is None
    assert [record.getMessage() for record in caplog.records] == [
        "cannot compile the kernels (cc: out of order); continuing without them"
    ]
    caplog.clear()
    monkeypatch.delenv("CC")
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert build() is None and not caplog.records


def test_kernels_are_compiled_once_and_where_the_cache_is_closed_each_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    build, compiled = kernels.library.__wrapped__, []
    if build() is None:
        pytest.skip("no C compiler")
    compile_them = kernels._compile
    monkeypatch.setattr(kernels, "_FLAGS", ("-O0", "-shared", "-fPIC"))
    monkeypatch.setattr(kernels, "_compile", lambda *args: (compiled.append(args), compile_them(*args)))
    monkeypatch.setenv("LRTUNE_CACHE", str(tmp_path / "cache"))
    assert build() is not None and build() is not None and len(compiled) == 1
    [library] = (tmp_path / "cache" / "kernels").glob("*.so")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LRTUNE_CACHE", str(tmp_path / "file"))
    assert build() is not None and len(compiled) == 2
    elsewhere = tmp_path / "elsewhere" / "kernels"
    elsewhere.mkdir(parents=True)
    (elsewhere / library.name).write_bytes(b"damaged")
    monkeypatch.setenv("LRTUNE_CACHE", str(elsewhere.parent))
    assert build() is not None and len(compiled) == 3


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(("rows", "outputs", "inputs"), [(1, 1, 1), (7, 9, 17), (1030, 12, 8), (1200, 20, 40)])
def test_sums_over_tokens_do_not_overflow(rows: int, outputs: int, inputs: int) -> None:
    """All digits at their largest, of one sign: the sum of 1,200 tokens is more than twice what an int32 holds."""
    g, x = torch.ones(rows, outputs), torch.full((rows, inputs), 127, dtype=torch.int8)
    g[:, -1], x[:, -1] = -1.0, -128
    columns = torch.cat([torch.ones(outputs), torch.zeros(1)])
    got = digits._weight_gradient_by_pairs(g, x, torch.ones(rows), columns)
    assert torch.allclose(got, g.t() @ x.float(), rtol=1e-5)
