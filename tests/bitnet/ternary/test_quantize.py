"""Quantisation by hand-made values, and the straight-through gradient against the plain detach form."""

import pytest

torch = pytest.importorskip("torch")

import bitnet.ternary.quantize as quantize  # noqa: E402
from bitnet import BitLinear  # noqa: E402
from bitnet.ternary.quantize import bit_linear, integer_product, quantize_activations, quantize_weights  # noqa: E402


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


def test_activations_use_the_whole_of_int8_per_token() -> None:
    # Token 1: s = 127 / 2; 0.5 · 63.5 = 31.75 → 32. Token 2: s = 127 / 0.01; −0.004 · 12700 = −50.8 → −51.
    x = torch.tensor([[-2.0, 0.5, 0.0], [0.01, -0.004, 0.0]])
    integers, scale = quantize_activations(x)
    assert integers.tolist() == [[-127, 32, 0], [127, -51, 0]]
    assert scale.flatten().tolist() == pytest.approx([63.5, 12700.0])


def test_a_token_or_matrix_of_zeros_stays_zero() -> None:
    assert not quantize_activations(torch.zeros(2, 4)).integers.any()
    assert not quantize_weights(torch.zeros(4, 4)).integers.any()
    assert torch.isfinite(BitLinear(4, 4)(torch.zeros(2, 4))).all()


def plain(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Fig. 3 of the Training Tips, word by word: (N, I) and (O, I) → (N, O)."""
    x = x * (x.square().mean(-1, keepdim=True) + quantize.NORM_EPS).rsqrt()
    x_scale = 127 / x.abs().amax(-1, keepdim=True).clamp(min=1e-5)
    x_rounded = (x * x_scale).round().clamp(-128, 127) / x_scale
    w_scale = 1 / w.abs().mean().clamp(min=1e-5)
    w_rounded = (w * w_scale).round().clamp(-1, 1) / w_scale
    return (x + (x_rounded - x).detach()) @ (w + (w_rounded - w).detach()).T


def test_output_and_gradients_equal_the_plain_detach_form() -> None:
    generator = torch.Generator().manual_seed(0)
    x, out = (torch.randn(2, 9, size, generator=generator, dtype=torch.float64) for size in (16, 24))
    w = torch.randn(2, 3, 8, 16, generator=generator, dtype=torch.float64)
    x.requires_grad_(), w.requires_grad_()
    y = bit_linear(x, w)
    grads = torch.autograd.grad((y * out).sum(), (x, w))
    expected = torch.stack([torch.cat([plain(x[k], w[k, g]) for g in range(3)], dim=-1) for k in range(2)])
    expected_grads = torch.autograd.grad((expected * out).sum(), (x, w))
    assert torch.allclose(y, expected, rtol=1e-12, atol=1e-12)
    for got, wanted in zip(grads, expected_grads, strict=True):
        assert torch.allclose(got, wanted, rtol=1e-10, atol=1e-12)


def test_gradient_in_bf16_is_that_of_fp32_to_eight_bits() -> None:
    generator = torch.Generator().manual_seed(1)
    x, w = torch.randn(1, 64, 32, generator=generator), torch.randn(1, 1, 48, 32, generator=generator)
    out = torch.randn(1, 64, 48, generator=generator)
    grads = {}
    for precision in ("fp32", "bf16"):
        x.requires_grad_(), w.requires_grad_()
        y = bit_linear(x, w, gradient=precision)
        grads[precision] = torch.autograd.grad((y * out).sum(), (x, w))
    for exact, rounded in zip(grads["fp32"], grads["bf16"], strict=True):
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
    wanted = plain(x.view(-1, 16), layer.weight).view(2, 5, 8)
    # A float32 rounding may move a value over a boundary of int8: one unit of one input, |w| / 127 of the largest.
    assert torch.allclose(layer(x), wanted, atol=4 * 0.02 / 127 * 4)
