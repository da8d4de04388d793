"""Quantisation by hand-made values, and the straight-through gradient against the detach form of the paper."""

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from bitnet import BitLinear  # noqa: E402
from bitnet.ternary import reference  # noqa: E402
from bitnet.ternary.quantize import bit_linear, integer_product, quantize_weights  # noqa: E402
from bitnet.ternary.reference import NORM_EPS  # noqa: E402


def test_weights_become_ternary_by_their_mean_size() -> None:
    # mean|w| = (0.9 + 0.2 + 0.05 + 0.05 + 0.3 + 0.3) / 6 = 0.3, so w / 0.3 = 3, −0.67, 0.17, −0.17, 1, −1.
    w = torch.tensor([[0.9, -0.2, 0.05], [-0.05, 0.3, -0.3]])
    integers, scale = quantize_weights(w)
    assert integers.tolist() == [[1, -1, 0], [0, 1, -1]]
    assert scale.item() == pytest.approx(1 / 0.3)


@pytest.mark.parametrize(("share", "expected"), [(0.49, 0), (0.51, 1), (1.49, 1), (7.0, 1), (-0.51, -1), (-9.0, -1)])
def test_weights_round_at_half_of_the_mean_and_stop_at_one(share: float, expected: int) -> None:
    # A thousand weights of size 1 hold the mean near 1, whatever the one looked at.
    w = torch.cat([torch.ones(1000), torch.tensor([share])]).view(1, -1)
    assert quantize_weights(w).integers[0, -1].item() == expected


def test_each_matrix_has_a_scale_of_its_own() -> None:
    w = torch.stack([torch.full((2, 2), 0.1), torch.full((2, 2), 4.0)])
    assert quantize_weights(w).scale.flatten().tolist() == pytest.approx([10.0, 0.25])


@pytest.mark.parametrize("form", [reference.bit_linear, lambda x, w: bit_linear(x[None], w[None, None])[0]])
def test_activations_use_the_whole_of_int8_per_token(form: Any) -> None:
    # By weights of one: the sum of integers / s, and s · r is 127 / max|x|. Token 1: 0.5 · 63.5 = 31.75 → 32, and
    # −127 + 32 = −95 of 63.5. Token 2: −0.004 · 12700 = −50.8 → −51, and 127 − 51 = 76 of 12700.
    x = torch.tensor([[-2.0, 0.5, 0.0], [0.01, -0.004, 0.0]], dtype=torch.float64)
    rms = (x.square().mean(-1) + NORM_EPS).sqrt()
    assert (form(x, torch.ones(1, 3, dtype=torch.float64))[:, 0] * rms).tolist() == pytest.approx(
        [-95 / 63.5, 76 / 12700]
    )


def test_a_token_or_matrix_of_zeros_stays_zero() -> None:
    assert not reference.bit_linear(torch.zeros(2, 4), torch.ones(4, 4)).any()
    assert not quantize_weights(torch.zeros(4, 4)).integers.any()
    assert torch.isfinite(BitLinear(4, 4)(torch.zeros(2, 4))).all()


def test_output_and_gradients_equal_the_detach_form_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(0)
    x, out = (torch.randn(2, 9, size, generator=generator, dtype=torch.float64) for size in (16, 24))
    w = torch.randn(2, 3, 8, 16, generator=generator, dtype=torch.float64)
    x.requires_grad_(), w.requires_grad_()
    y = bit_linear(x, w)
    grads = torch.autograd.grad((y * out).sum(), (x, w))
    expected = torch.stack(
        [torch.cat([reference.bit_linear(x[k], w[k, g]) for g in range(3)], dim=-1) for k in range(2)]
    )
    expected_grads = torch.autograd.grad((expected * out).sum(), (x, w))
    assert torch.allclose(y, expected, rtol=1e-12, atol=1e-12)
    for got, wanted in zip(grads, expected_grads, strict=True):
        assert torch.allclose(got, wanted, rtol=1e-10, atol=1e-12)


def test_gradient_in_bf16_is_that_of_fp32_to_eight_bits() -> None:
    generator = torch.Generator().manual_seed(1)
    x, w = torch.randn(1, 64, 32, generator=generator), torch.randn(1, 1, 48, 32, generator=generator)
    out = torch.randn(1, 64, 48, generator=generator)
    grads = {}
    for precision in ("fp32", "low"):
        x.requires_grad_(), w.requires_grad_()
        y = bit_linear(x, w, gradient=precision)
        grads[precision] = torch.autograd.grad((y * out).sum(), (x, w))
    for exact, rounded in zip(grads["fp32"], grads["low"], strict=True):
        # One rounding of each term and one of the result, 2⁻⁹ each at most.
        assert (exact - rounded).norm() / exact.norm() < 2**-8
        assert not torch.equal(exact, rounded)


def test_integer_products_are_the_same_however_they_are_computed() -> None:
    generator = torch.Generator().manual_seed(2)
    x = torch.randint(-127, 128, (2, 16, 64), generator=generator)
    w = torch.randint(-1, 2, (2, 8, 64), generator=generator)
    exact = x @ w.transpose(1, 2)
    assert torch.equal(integer_product(x.to(torch.int8), w.to(torch.int8), "int8").long(), exact)
    assert torch.equal(integer_product(x.float(), w.float(), "float").long(), exact)


def test_bit_linear_is_a_layer_like_linear() -> None:
    layer = BitLinear(16, 8)
    assert [(name, tuple(p.shape)) for name, p in layer.named_parameters()] == [("weight", (8, 16))]
    x = torch.randn(2, 5, 16)
    assert layer(x).shape == (2, 5, 8)
    # The norm inside makes the output blind to the input's size.
    assert torch.allclose(layer(x), layer(10 * x), rtol=1e-4, atol=1e-6)
    wanted = reference.bit_linear(x.view(-1, 16), layer.weight).view(2, 5, 8)
    # A float32 rounding may move a value over a boundary of int8: one unit of one input, |w| / 127 of the largest.
    assert torch.allclose(layer(x), wanted, atol=4 * 0.02 / 127 * 4)
