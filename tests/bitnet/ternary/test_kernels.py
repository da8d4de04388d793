"""Attention, cross-entropy and products in C against torch's, for this processor and lesser ones."""

import dataclasses
import math
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from bitnet.model.loss import training_loss  # noqa: E402
from bitnet.ternary import arithmetic, fused, kernels  # noqa: E402
from bitnet.ternary.plain import rotations  # noqa: E402
from lrtune.trainer import InputError  # noqa: E402

pytestmark = pytest.mark.slow


def normal(*shape: int, seed: int) -> Any:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attended(qkv: Any, grad: Any, turns: Any) -> tuple[Any, Any]:
    """The kernels' attention over qkv (B, T, 3, H, head size), and the gradient of qkv before it was turned."""
    batch, length, _, heads, size = shape = qkv.shape
    mixed, d_qkv = torch.empty_like(grad), torch.empty(shape)
    largest, share = torch.empty(2, batch, heads, length).unbind()
    kernels.run("attention", qkv, batch, length, heads, size, mixed, largest, share)
    angles = turns
    kernels.run("attention_backward", qkv, grad, largest, share, angles, batch, length, heads, size, d_qkv)
    return mixed, d_qkv


def by_torch(qkv: Any, grad: Any, turns: Any) -> tuple[Any, Any]:
    """The same by torch's operations in the precision of `qkv`."""
    leaf = qkv.clone().requires_grad_()
    q, k, v = (part.transpose(1, 2) for part in leaf.unbind(2))
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    (d_qkv,) = torch.autograd.grad((y * grad).sum(), leaf)
    pairs = torch.view_as_complex(d_qkv[:, :, :2].unflatten(-1, (-1, 2)).contiguous())
    d_qkv[:, :, :2] = torch.view_as_real(pairs * torch.view_as_complex(turns).conj()).flatten(-2)
    return y.detach(), d_qkv


def error(got: Any, exact: Any) -> float:
    return float((got.double() - exact).norm() / exact.norm())


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    ("batch", "length", "heads", "size"),
    [(2, 64, 4, 16), (1, 1, 1, 16), (2, 50, 3, 8), (1, 200, 2, 24), (1, 130, 1, 80), (3, 5, 2, 2)],
)
@pytest.mark.parametrize("spread", [1.0, 5.0])  # of the scores: with 5, most of a query's weight is on a few keys
def test_attention_is_as_exact_as_torch(batch: int, length: int, heads: int, size: int, spread: float) -> None:
    qkv, grad = normal(batch, length, 3, heads, size, seed=0), normal(batch, length, heads, size, seed=1)
    qkv[:, :, :2] *= math.sqrt(spread)
    turns = {kind: rotations(length, size, torch.device("cpu"), kind) for kind in (torch.float32, torch.float64)}
    exact = by_torch(qkv.double(), grad.double(), turns[torch.float64])
    floating = by_torch(qkv, grad, turns[torch.float32])
    for got, plain, wanted in zip(attended(qkv, grad, turns[torch.float32]), floating, exact, strict=True):
        assert error(got, wanted) < 2 * error(plain, wanted) + 2e-7 < 1e-5


@pytest.mark.usefixtures("built")
def test_attention_looks_back_alone_and_stands_large_scores() -> None:
    qkv, grad = normal(1, 100, 3, 2, 16, seed=0), normal(1, 100, 2, 16, seed=1)
    turns = rotations(100, 16, torch.device("cpu"), torch.float32)
    mixed, _ = attended(qkv, grad, turns)
    later = qkv.clone()
    later[:, 70:] += 1.0
    changed, _ = attended(later, grad, turns)
    assert torch.equal(mixed[:, :70], changed[:, :70])
    assert not torch.isclose(mixed[:, 70:], changed[:, 70:]).all()
    for y, d in (attended(qkv * 1e6, grad, turns), attended(qkv * 1e-30, grad, turns)):
        assert torch.isfinite(y).all() and torch.isfinite(d).all()
    qkv[0, 3, 0, 1, 5] = float("nan")  # a query's: its own answer alone, and the gradients of that head
    mixed, d_qkv = attended(qkv, grad, turns)
    assert mixed[0, 3, 1].isnan().all() and mixed.isnan().sum() == 16
    assert d_qkv[0, 3, :, 1].isnan().all() and not d_qkv[:, :, :, 0].isnan().any()


def cross_entropy(scores: Any, targets: Any, smoothing: Any = None) -> tuple[Any, Any]:
    """Losses (K, n) and gradient by the kernel, which writes over a copy of scores (K, n, V)."""
    losses, delta = torch.empty(targets.shape), scores.clone()
    of_rows = targets.numel(), scores.shape[2], targets, targets.shape[1], smoothing
    kernels.run("cross_entropy", delta, *of_rows, losses)
    return losses, delta


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("vocabulary", [2, 16, 37, 1000])
@pytest.mark.parametrize("smoothing", [None, (0.0, 0.1)])
def test_cross_entropy_is_as_exact_as_float32(vocabulary: int, smoothing: tuple[float, ...] | None) -> None:
    scores = 5 * normal(2, 30, vocabulary, seed=0)
    targets = torch.randint(0, vocabulary, (2, 30), generator=torch.Generator().manual_seed(1))
    shares = None if smoothing is None else torch.tensor(smoothing)
    losses, delta = cross_entropy(scores, targets, shares)
    for k in range(2):
        leaf = scores[k].double().requires_grad_()
        plain = torch.nn.functional.cross_entropy(leaf, targets[k], reduction="none")
        smooth = torch.nn.functional.cross_entropy(
            leaf, targets[k], reduction="sum", label_smoothing=smoothing[k] if smoothing else 0.0
        )
        assert torch.allclose(losses[k].double(), plain, rtol=1e-6, atol=1e-6)
        (wanted,) = torch.autograd.grad(smooth, leaf)
        assert error(delta[k], wanted) < 3e-7


@pytest.mark.usefixtures("built")
def test_cross_entropy_of_far_and_broken_scores() -> None:
    scores = torch.zeros(1, 4, 20)
    scores[0, 0, 3] = 1e4  # the target itself, and another token
    scores[0, 1, 4] = 1e4
    scores[0, 2, 19] = float("nan")
    scores[0, 3, 0] = float("inf")
    losses, delta = cross_entropy(scores, torch.full((1, 4), 3))
    assert losses[0, :2].tolist() == [0.0, 1e4]
    onehot = torch.nn.functional.one_hot
    assert torch.allclose(delta[0, 0], torch.zeros(20))
    assert torch.allclose(delta[0, 1], (onehot(torch.tensor(4), 20) - onehot(torch.tensor(3), 20)).float())
    assert losses[0, 2:].isnan().all() and delta[0, 2:].isnan().any(dim=-1).all()


@pytest.mark.usefixtures("built")
def test_the_loss_of_a_model_is_that_of_cross_entropy() -> None:
    states, head = normal(2, 50, 8, seed=0), normal(2, 24, 8, seed=1)
    targets = torch.randint(0, 24, (2, 50), generator=torch.Generator().manual_seed(2))
    smoothing = torch.tensor([0.0, 0.1])
    got = []
    small = dataclasses.replace(arithmetic.KERNELS, logits_at_once=20 * 24 * 2)  # 20 of 50 tokens at once
    for kind, way in ((torch.float32, small), (torch.float64, arithmetic.REFERENCE)):
        leaves = states.to(kind).requires_grad_(), head.to(kind).requires_grad_()
        loss = training_loss(*leaves, targets, smoothing, arithmetic=way)
        got.append([loss.detach(), *torch.autograd.grad(loss.sum(), leaves)])
    for ours, wanted in zip(*got, strict=True):
        assert error(ours, wanted) < 3e-7


def test_a_library_is_loaded_only_whole_and_from_this_user_alone(monkeypatch: Any, tmp_path: Path) -> None:
    if kernels.library() is None:
        pytest.skip("no C compiler")
    compiled = []
    compile_, once = kernels._compile, tmp_path / "once.so"
    compile_(os.environ.get("CC", "cc"), ("-O0", "-shared", "-fPIC"), once)
    monkeypatch.setenv("LRTUNE_CACHE", str(tmp_path))
    monkeypatch.setattr(kernels, "_compile", lambda *given: (compiled.append(given), shutil.copy(once, given[2])))

    def loads() -> int:
        """How often it was compiled in order to be loaded."""
        compiled.clear()
        assert kernels.library.__wrapped__() is not None
        return len(compiled)

    assert (loads(), loads()) == (1, 0)
    folder = tmp_path / "kernels"
    (built,) = folder.glob("*.so")
    assert folder.stat().st_mode & 0o777 == 0o700
    damaged = built.read_bytes()[:-1]
    built.unlink()  # never written over: it is mapped into this process
    built.write_bytes(damaged)
    assert (loads(), loads()) == (1, 0)
    built.chmod(0o666)
    assert (loads(), loads()) == (1, 0)
    folder.chmod(0o777)
    assert loads() == 0 and folder.stat().st_mode & 0o777 == 0o700
    if os.geteuid() == 0:
        os.chown(built, 65534, 65534)
        assert (loads(), loads()) == (1, 0)
        os.chown(folder, 65534, 65534)
        assert (loads(), loads()) == (1, 1)


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 31, 256, 257, 260, 513, 1030])
@pytest.mark.parametrize(("rows", "outputs"), [(1, 1), (6, 16), (7, 17), (13, 40)])
def test_products_are_exact_at_the_extremes(depth: int, rows: int, outputs: int) -> None:
    """Where 16-bit sums overflow first: all inputs −128 or 127, all weights of one sign."""
    generator = torch.Generator().manual_seed(depth)
    x = torch.randint(-128, 128, (rows, depth), generator=generator)
    w = torch.randint(-1, 2, (outputs, depth), generator=generator)
    for far, sign in ((-128, 1), (-128, -1), (127, 1), (127, -1)):
        x[rows // 2], w[outputs // 2] = far, sign
        x[0, ::2], w[0] = far, sign
        got = product(x.to(torch.int8), w.to(torch.int8))
        assert torch.equal(got.long(), x @ w.T)


@pytest.mark.usefixtures("built")
def test_a_product_touches_what_is_its_own_alone() -> None:
    x, w = torch.full((7, 10), 127, dtype=torch.int8), torch.ones(9, 10, dtype=torch.int8)
    around = torch.full((9, 9), -7, dtype=torch.int32)
    packed = torch.empty(16 * 12, dtype=torch.int8)
    kernels.run("pack_ternary", w, 9, 10, packed)
    kernels.run("ternary_product", x, 7, 10, packed, 9, around[1:8])
    assert (around[1:8] == 1270).all() and (around[0] == -7).all() and (around[8] == -7).all()


def product(x: Any, w: Any) -> Any:
    """int8 x (R, I) times ternary w (O, I) transposed, by the kernel; on two threads."""
    return fused.Weights(w.float(), "ours").product(x).clone()


def test_arguments_that_a_kernel_does_not_take_are_refused() -> None:
    if kernels.library() is None:
        pytest.skip("no C compiler")
    x, y = torch.ones(2, 3), torch.empty(2, 3, dtype=torch.int8)
    scale = torch.ones(2)
    with pytest.raises(AssertionError, match="expected 6 arguments, but got 4"):
        kernels.run("values", y, 2, 3, scale)
    with pytest.raises(AssertionError, match="values"):
        kernels.run("values", x, 2, 3, scale, 3, x)  # floats where int8 is read
    with pytest.raises(AssertionError, match="values"):
        kernels.run("values", y, 2.0, 3, scale, 3, x)
    with pytest.raises(AssertionError, match="dense"):
        kernels.run("values", y.t(), 3, 2, scale, 2, x)


@pytest.mark.parametrize("processor", ["generic", "neoverse-n1", "neoverse-v1"])
def test_the_c_files_compile_for_arm(processor: str, tmp_path: Path) -> None:
    compiler = shutil.which("aarch64-linux-gnu-gcc")
    if compiler is None:
        pytest.skip("no cross-compiler for 64-bit ARM")
    flags = [flag for flag in kernels._FLAGS if flag != "-O3"]
    kernels._compile(f"{compiler} -Wall -Werror", (*flags, f"-mcpu={processor}"), tmp_path / "kernels.so")
    assert (tmp_path / "kernels.so").stat().st_size > 0


ARM = """
#include "product.c"
#include <stdio.h>

static const long SHAPES[][3] = {{1, 1, 1}, {8, 64, 8}, {9, 65, 9}, {7, 300, 13}, {17, 7, 4}, {6, 1027, 30}};

int main(void) {
    for (int s = 0; s < 6; s++)
        for (int extreme = 0; extreme < 2; extreme++) {
            long rows = SHAPES[s][0], depth = SHAPES[s][1], outputs = SHAPES[s][2];
            int8_t *x = malloc(rows * depth), *w = malloc(outputs * depth);
            int8_t *packed = malloc((outputs + 7) / 8 * 8 * ((depth + 3) / 4 * 4));
            int32_t *sums = malloc(4 * rows * outputs);
            srand(s);
            EACH(i, rows * depth) x[i] = extreme ? (i % 2 ? -128 : 127) : (int8_t)rand();
            EACH(i, outputs * depth) w[i] = extreme ? (i % 2 ? -1 : 1) : (int8_t)(rand() % 3 - 1);
            pack_ternary(w, outputs, depth, packed, 1);
            ternary_product(x, rows, depth, packed, outputs, sums, 1);
            EACH(n, rows) EACH(o, outputs) {
                long sum = 0;
                EACH(i, depth) sum += (long)x[n * depth + i] * w[o * depth + i];
                if (sum != sums[n * outputs + o]) return printf("%ld %ld: %ld\\n", n, o, sum), 1;
            }
        }
#ifdef __ARM_FEATURE_DOTPROD
    puts("dot products");
#endif
    return 0;
}
"""


@pytest.mark.parametrize("processor", ["generic", "neoverse-n1"])
def test_the_ternary_product_is_exact_on_arm(processor: str, tmp_path: Path) -> None:
    compiler, emulator = shutil.which("aarch64-linux-gnu-gcc"), shutil.which("qemu-aarch64")
    if compiler is None or emulator is None:
        pytest.skip("no cross-compiler or emulator for 64-bit ARM")
    program, source = tmp_path / "product", tmp_path / "product_test.c"
    source.write_text(ARM)
    folder = kernels._HEADER.parent
    flags = ["-O3", "-static", "-fopenmp-simd", f"-mcpu={processor}", f"-I{folder}"]
    subprocess.run([compiler, *flags, str(source), "-o", str(program), "-lm"], check=True)
    done = subprocess.run([emulator, str(program)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert ("dot products" in done.stdout) == (processor == "neoverse-n1")


def test_an_invalid_cap_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernels.CAP_VARIABLE, "avx3")
    with pytest.raises(InputError, match="LRTUNE_CPU: expected one of plain, avx2, avx512, but got 'avx3'"):
        kernels.int8_in_hardware()
