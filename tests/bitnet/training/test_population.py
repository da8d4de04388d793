"""K models side by side do what each would do alone."""

import gc
import math
import weakref
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from bitnet.model.decoder import hidden_states, logits  # noqa: E402
from bitnet.settings.config import ModelConfig  # noqa: E402
from bitnet.settings.options import Optimizer  # noqa: E402
from bitnet.settings.parametrization import Factors, factors  # noqa: E402
from bitnet.settings.parametrization import Kind as Parametrization  # noqa: E402
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
        Member(seed=0, schedule=Schedule(peak=0.03, **schedule), clip=0.1, optimizer="adam-l2", label_smoothing=0.1),
        Member(seed=1, schedule=Schedule(peak=0.01, weight_decay=0.0, **schedule), clip=math.inf),
    ]


def population(who: list[Member], **settings: Any) -> Population:
    muon = settings.pop("muon", False)
    stepper = settings.pop("stepper", None) or stepper_for(settings.get("device", "cpu"), muon=muon)
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


@pytest.mark.parametrize("kind", ["standard", "mup"])
def test_steps_as_a_gpu_makes_them_equal_those_of_a_cpu(kind: Parametrization) -> None:
    # The same operations that a graph captures, without the graph. From the second step on a flipped ternary weight
    # sets the two apart a little; a large epsilon keeps Adam from magnifying gradients of next to nothing.
    own = {"epsilon": 1e-3, "factors": factors(kind, 32, 8)}
    staged = population(members(), **own, stepper=DeviceSteps(compiled=False, graph=False))
    plain = population(members(), **own)
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


@pytest.mark.parametrize("optimizer", ["adamw", "adam-l2"])
def test_update_is_torchs_own_adam(optimizer: Optimizer) -> None:
    member = Member(seed=0, schedule=Schedule(peak=0.01, steps=10, weight_decay=0.5), optimizer=optimizer, clip=0.3)
    ours = population([member], epsilon=1e-3)
    weights = torch.nn.Parameter(ours.state.parameters.clone())
    kind = torch.optim.Adam if member.coupled else torch.optim.AdamW
    theirs = kind([weights], lr=1.0, betas=(0.9, 0.95), eps=1e-3, weight_decay=0.5)
    for step in range(2):
        gradients = population([member], state=ours.state).gradients(ours.tokens(step))
        weights.grad = torch.cat([gradient.flatten(1) for gradient in gradients], dim=1)
        torch.nn.utils.clip_grad_norm_([weights], 0.3)
        theirs.param_groups[0]["lr"] = member.schedule.learning_rate(step)
        theirs.step()
        ours.advance(step + 1)
        assert torch.allclose(ours.state.parameters, weights, rtol=1e-5, atol=1e-6)


def test_with_muon_the_matrices_move_by_muon_and_the_rest_by_adamw_at_its_own_rate() -> None:
    schedule = Schedule(peak=0.02, steps=10, warmup=2, weight_decay=0.5)
    member = Member(seed=0, schedule=schedule, optimizer="muon", adam_ratio=0.1, clip=0.3)
    ours = population([member], epsilon=1e-3, muon=True)
    weights = {name: torch.nn.Parameter(view[0].clone()) for name, view in ours.parameters.items()}
    matrices = {f"{name} {g}": torch.nn.Parameter(w.data[g]) for name, w in weights.items() for g in range(len(w))}
    matrices = {name: matrix for name, matrix in matrices.items() if "." in name}
    muon = torch.optim.Muon(list(matrices.values()), weight_decay=0.5)
    adamw = torch.optim.AdamW([weights["embedding"], weights["head"]], betas=(0.9, 0.95), eps=1e-3, weight_decay=0.5)
    for step, rate in enumerate((0.01, 0.02)):
        found = population([member], state=ours.state, muon=True).gradients(ours.tokens(step))
        gradients = {name: gradient[0] for name, gradient in zip(weights, found, strict=True)}
        scale = (0.3 / torch.cat([gradient.flatten() for gradient in gradients.values()]).norm()).clamp(max=1.0)
        for name, weight in weights.items():
            weight.grad = gradients[name] * scale
        for name, matrix in matrices.items():
            layer, _, g = name.partition(" ")
            matrix.grad = gradients[layer][int(g)] * scale
        muon.param_groups[0]["lr"], adamw.param_groups[0]["lr"] = rate, 0.1 * rate
        before = {name: weight.detach().clone() for name, weight in weights.items()}
        muon.step(), adamw.step()
        ours.advance(step + 1)
        for name, weight in weights.items():  # Muon rounds to bfloat16
            assert (ours.parameters[name][0] - weight).norm() < 0.02 * (weight - before[name]).norm(), name


def test_a_member_with_muon_keeps_its_momentum_when_another_is_dropped() -> None:
    schedule = Schedule(peak=0.02, steps=20)
    three = [Member(seed=seed, schedule=schedule, optimizer="muon", adam_ratio=0.3) for seed in (0, 0, 1)]
    shrunk, alone = population(three, muon=True), population(three[2:], muon=True)
    shrunk.advance(2), alone.advance(2)
    shrunk.keep([2])
    shrunk.advance(4), alone.advance(4)
    assert (shrunk.state.parameters - alone.state.parameters).norm() < 1e-3 * alone.state.parameters.norm()
    assert shrunk.state.first.abs().sum() > 0


def answers(width: int, kind: Parametrization, optimizer: Optimizer, steps: int) -> tuple[float, float]:
    """RMS of the logits at the start, and of their change over some steps, of a model of that width."""
    config = ModelConfig(hidden_size=width, vocabulary_size=64, depth=2)
    member = Member(seed=0, schedule=Schedule(peak=0.01, steps=100), optimizer=optimizer, adam_ratio=0.3, clip=1.0)
    stepper = stepper_for("cpu", muon=optimizer == "muon")
    own = factors(kind, width, 32)
    one = Population(config, [member], lambda seed, step: DATA[seed, step % 8], stepper=stepper, factors=own)
    ids = torch.from_numpy(DATA[0, 0])[None, :, :-1]
    seen = []
    for count in (0, steps):
        one.make_steps(count)
        states = hidden_states(one.parameters, ids, config, arithmetic=one.arithmetic)
        seen.append(logits(states, one.parameters["head"]))
    return seen[0].square().mean().sqrt().item(), (seen[1] - seen[0]).square().mean().sqrt().item()


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("steps", [1, 4])
def test_under_mup_neither_activations_nor_updates_grow_with_the_width(optimizer: Optimizer, steps: int) -> None:
    small, wide = answers(32, "mup", optimizer, steps), answers(256, "mup", optimizer, steps)
    as_set = answers(256, "standard", optimizer, steps)
    assert wide[0] < 1.1 * small[0] and wide[1] < 1.1 * small[1]
    assert as_set[0] > 2 * small[0] and as_set[1] > 2 * small[1]  # the test can see it


def test_at_the_base_width_mup_is_the_standard_parametrization() -> None:
    assert factors("mup", 64, 64) == factors("standard", 64, 32) == Factors()
    one, two = population(members()), population(members(), factors=factors("mup", 32, 32))
    one.advance(2), two.advance(2)
    assert torch.equal(one.state.parameters, two.state.parameters)


def test_under_mup_each_kind_of_parameter_starts_and_moves_by_its_factor() -> None:
    quarter = factors("mup", 32, 8)
    schedule = Schedule(peak=0.01, steps=10, weight_decay=50.0)  # half of a weight in a step
    plain, narrow = (population([Member(seed=0, schedule=schedule)], factors=own) for own in (None, quarter))
    ratio = {name: narrow.parameters[name].norm() / plain.parameters[name].norm() for name in plain.parameters}
    wanted = {"embedding": 1.0, "head": 0.25, "0.qkv": 0.5, "1.down": 0.5}
    assert {name: ratio[name].item() for name in wanted} == pytest.approx(wanted, rel=1e-4)
    before = {name: view.clone() for name, view in narrow.parameters.items()}
    narrow.advance(1)
    for name, rate in {"embedding": 0.01, "head": 0.0025, "0.qkv": 0.0025, "1.down": 0.0025}.items():
        moved = narrow.parameters[name] - before[name] * 0.5  # decay does not shrink with the width
        assert moved.abs().median().item() == pytest.approx(rate, rel=0.01)  # Adam's first step is the rate itself


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
