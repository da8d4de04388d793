"""K models side by side do what each would do alone."""

import gc
import math
import weakref
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bitnet.settings.config import ModelConfig  # noqa: E402
from bitnet.settings.schedule import Schedule  # noqa: E402
from bitnet.training.device_steps import DeviceSteps  # noqa: E402
from bitnet.training.population import Member, Population  # noqa: E402
from bitnet.training.steppers import stepper_for  # noqa: E402

pytestmark = pytest.mark.slow

CONFIG = ModelConfig(hidden_size=32, vocabulary_size=64, depth=2)
DATA = np.random.default_rng(0).integers(0, 64, (2, 8, 6, 17))


def members() -> list[Member]:
    """Three that differ in all that may differ."""
    schedule: dict[str, Any] = {"steps": 20, "warmup": 2}
    return [
        Member(seed=0, schedule=Schedule(peak=0.01, **schedule), clip=1.0),
        Member(seed=0, schedule=Schedule(peak=0.03, **schedule), clip=0.1, coupled=True, label_smoothing=0.1),
        Member(seed=1, schedule=Schedule(peak=0.01, weight_decay=0.0, **schedule), clip=math.inf),
    ]


def population(who: list[Member], **settings: Any) -> Population:
    stepper = settings.pop("stepper", None) or stepper_for(settings.get("device", "cpu"))
    return Population(CONFIG, who, lambda seed, step: DATA[seed, step % 8], stepper=stepper, **settings)


def test_one_step_together_equals_one_step_apart() -> None:
    together = population(members())
    start = together.state.parameters.clone()
    assert torch.equal(start[0], start[1]) and not torch.equal(start[0], start[2])
    together.advance(1)
    for k, member in enumerate(members()):
        alone = population([member])
        alone.advance(1)
        # Adam's first update is rate · g / |g| for each weight: rounding counts only where g is next to nothing.
        moved, difference = alone.state.parameters[0] - start[k], together.state.parameters[k] - alone.state.parameters
        assert difference.norm() < 1e-3 * moved.norm() and moved.norm() > 0
        assert together.state.gradient_norm[k].item() == pytest.approx(alone.state.gradient_norm[0].item(), rel=1e-5)
        assert together.state.update_ratio[k].item() == pytest.approx(alone.state.update_ratio[0].item(), rel=1e-5)


def test_steps_as_a_gpu_makes_them_equal_those_of_a_cpu() -> None:
    # The same operations that a graph captures, without the graph. From the second step on a flipped ternary weight
    # sets the two apart a little; a large epsilon keeps Adam from magnifying gradients of next to nothing.
    staged = population(members(), epsilon=1e-3, stepper=DeviceSteps(compiled=False, graph=False))
    plain = population(members(), epsilon=1e-3)
    for step, tolerance in ((1, 1e-5), (4, 5e-2)):
        plain.advance(step), staged.advance(step)
        difference = (plain.state.parameters - staged.state.parameters).norm(dim=1)
        assert (difference < tolerance * plain.state.parameters.norm(dim=1)).all()
        norms = plain.state.gradient_norm.tolist()
        assert staged.state.gradient_norm.tolist() == pytest.approx(norms, rel=10 * tolerance)
    assert staged.state.step == 4


def test_a_dropped_member_leaves_the_others_as_they_were() -> None:
    shrunk, whole = population(members()), population(members())
    shrunk.advance(2), whole.advance(2)
    shrunk.keep([0, 2])
    assert torch.equal(shrunk.state.parameters, whole.state.parameters[[0, 2]])
    shrunk.advance(3), whole.advance(3)
    difference = shrunk.state.parameters - whole.state.parameters[[0, 2]]
    assert difference.norm() < 1e-3 * whole.state.parameters.norm()


def test_micro_batches_give_the_gradient_of_the_batch() -> None:
    ids = torch.from_numpy(DATA[0, 0]).unsqueeze(0)
    whole = population(members()[:1]).gradients(ids)
    parts = population(members()[:1], micro_batch=4).gradients(ids)  # 4 and 2 of 6 sequences
    for a, b in zip(whole, parts, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-5 * a.abs().max().item())


@pytest.mark.parametrize("coupled", [False, True])
def test_update_is_torchs_own_adam(coupled: bool) -> None:
    member = Member(seed=0, schedule=Schedule(peak=0.01, steps=10, weight_decay=0.5), coupled=coupled, clip=0.3)
    ours = population([member], epsilon=1e-3)
    weights = torch.nn.Parameter(ours.state.parameters.clone())
    kind = torch.optim.Adam if coupled else torch.optim.AdamW
    theirs = kind([weights], lr=1.0, betas=(0.9, 0.95), eps=1e-3, weight_decay=0.5)
    for step in range(2):
        gradients = population([member], state=ours.state).gradients(ours.tokens(step))
        weights.grad = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)
        torch.nn.utils.clip_grad_norm_([weights], 0.3)
        theirs.param_groups[0]["lr"] = member.schedule.learning_rate(step)
        theirs.step()
        ours.advance(step + 1)
        assert torch.allclose(ours.state.parameters, weights, rtol=1e-5, atol=1e-6)


def test_a_population_that_is_let_go_frees_its_memory_at_once() -> None:
    one = population(members(), stepper=DeviceSteps(compiled=False, graph=False))
    one.advance(1)
    gone = weakref.ref(one)
    gc.disable()  # a cycle would have to wait for it, and a graph holds gigabytes
    try:
        del one
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.gpu
def test_one_captured_step_equals_one_step_on_a_cpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    here, there = population(members()), population(members(), device="cuda")
    start = here.state.parameters.clone()
    here.advance(1), there.advance(1)
    moved = here.state.parameters - start
    assert (there.state.parameters.cpu() - here.state.parameters).norm() < 1e-2 * moved.norm()
    there.advance(12)  # through the capture and replays
    assert there.state.step == 12 and torch.isfinite(there.state.parameters).all()
