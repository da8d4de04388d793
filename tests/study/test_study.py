"""study.toml: what is read, what is refused and with which words, and what the fingerprint covers."""

import re
import tomllib
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest

from lrtune.errors import InputError
from lrtune.study.log import Log
from lrtune.study.study import Budget, PruningPolicy, Study, fingerprint
from lrtune.study.task import targets
from lrtune.study.toml import load_study, parse_seconds, parse_study, to_toml

FULL = """
[study]
name = "mine"
trainer = "mypkg.train:train"
steps = 500
report_every = 50
seed = 3
design = "grid"
points = 7

[scales]
hidden_size = [32, 64]
steps = [300, 1200]

[learning_rate]
min = 1e-4
max = 1

[options]
optimizer = "adamw"
betas = [0.9, 0.95]

[arms.smooth]
label_smoothing = 0.1

[pruning]
pruner = "none"
floor = 0.2

[budget]
time = "1h30m"
trials = 40

[[target]]
hidden_size = 1024
steps = 20_000

[[target]]
steps = 1200
hidden_size = 64
"""


def test_every_table_is_read() -> None:
    study = parse_study(FULL)
    assert study.name == "mine" and study.trainer == "mypkg.train:train" and study.seed == 3
    assert study.widths == (32, 64) and study.scales == {"steps": (300.0, 1200.0)}
    assert (study.lr_min, study.lr_max) == (1e-4, 1.0)
    assert study.options == {"optimizer": "adamw", "betas": [0.9, 0.95]}
    assert study.arms == {"smooth": {"label_smoothing": 0.1}}
    assert study.pruner == "none" and study.pruning == PruningPolicy(floor=0.2)
    assert study.budget == Budget(seconds=5400.0, trials=40)
    assert study.targets == ({"hidden_size": 1024.0, "steps": 20_000.0}, {"steps": 1200.0, "hidden_size": 64.0})


@pytest.mark.parametrize(
    "study",
    [
        Study(),
        parse_study(FULL),
        Study(name='q"uote\\', command=("python", "t.py", "--lr={learning_rate}"), arms={"a b": {"x": True}}),
        Study(command=("t", "{learning_rate}"), log=Log(metrics="runs/{id}/m.csv", metric="val/loss")),
        Study(options={"nested": {"a b": [1, 2.5, "x"]}, "text": "tab\t\x7f"}),
    ],
)
def test_what_is_written_reads_back_as_the_same_study(study: Study) -> None:
    again = parse_study(to_toml(study))
    assert replace(again, options=dict(again.options)) == study
    assert fingerprint(again) == fingerprint(study)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[study]\nnmae = 'x'", r"\[study\]: unknown key 'nmae'; did you mean 'name'\?"),
        ("[scale]\nhidden_size = [1]", r"unknown key 'scale'; did you mean 'scales'\?"),
        ("[pruning]\nflor = 0.1", "did you mean 'floor'"),
        ("[budget]\ntimes = '1m'", "did you mean 'time'"),
        ("[study]\nsteps = -5", "steps: expected a positive whole number, but got -5"),
        ("[study]\nsteps = 2.5", "study.steps: expected a positive whole number, but got 2.5"),
        ("[study]\nsteps = true", "expected a positive whole number, but got True"),
        ("[scales]\nhidden_size = []", "expected a list of whole numbers"),
        ("[scales]\nhidden_size = [0]", "scales.hidden_size: expected a positive whole number, but got 0"),
        ("[scales]\nhidden_size = [32, 32]", "each hidden size once"),
        ("[scales]\ndepth = [-1]", "scales.depth: expected a positive number, but got -1"),
        ("[learning_rate]\nmin = 0.1\nmax = 0.01", "expected min below max, but got min 0.1 and max 0.01"),
        ("[learning_rate]\nmin = 0", "learning_rate.min: expected a positive learning rate"),
        ("[learning_rate]\nmax = inf", "learning_rate.max: expected a positive learning rate"),
        ("[study]\ndesign = 'random'", "design: expected one of scale-aware, grid"),
        ("[budget]\ntolerance = 0", "budget.tolerance: expected a share of loss such as 0.01"),
        ("[budget]\ntolerance = 2", "budget.tolerance: expected a share of loss such as 0.01"),
        ("[budget]\ntime = 'soon'", "budget.time: expected a positive duration such as 90s"),
        ("[pruning]\nbeaten = 1", "pruning.beaten: expected true or false"),
        ("[pruning]\nfloor = nan", "pruning.floor: expected a number of at least 0"),
        ("[arms]\nsmooth = 3", "arms.smooth: expected a table"),
        ("study = 3", "study: expected a table"),
        ("target = 3", "target: expected a list of tables"),
        ("[target]\nhidden_size = 3", "target: expected a list of tables"),
        ("[[targets]]\nhidden_size = 3", "unknown key 'targets'; did you mean 'target'"),
        ("[[target]]\nhidden_size = 0", "target.hidden_size: expected a positive number, but got 0"),
        ("[study]\nallow_inert_scale = 1", "allow_inert_scale: expected true or false"),
        ("[log]\nmetric = 'val/loss'", "log: expected a command with it, but got none"),
        ("[log]\nmetrics_file = 'x'", "did you mean 'metrics'"),
        ("[log]\nloss_pattern = 'loss .*'", r"log.loss_pattern: expected a group for the loss, as in 'val loss \("),
        ("[log]\nloss_pattern = 'loss (.*'", "log.loss_pattern: expected a regular expression, but got 'loss"),
        ("[log]\nloss_pattern = 'l (.*)'\nmetric = 'l'", "either loss_pattern or metric and step_column"),
        ("[study", "invalid TOML"),
        ("a = " + "[" * 100_000, "invalid TOML"),
        ("[study]\nname = '\x1b'", "invalid TOML"),
        ('[study]\nname = "a\\u001b]52;c;x"', "study.name: expected a printable string"),
        ('[options]\n"a\\nb" = 1\n[study]\n"st\\neps" = 1', r"unknown key 'st eps'; did you mean 'steps'"),
        ("[scales]\nhidden_size = [8]\n" + "".join(f"s{i} = [{1}]\n" for i in range(8)), "at most 7 entries"),
        ("[scales]\n" + "".join(f"s{i} = {[*range(1, 41)]}\n" for i in range(7)), "at most 10,000 combinations"),
        ("[study]\npoints = 1000000000", "study.points: expected a whole number of at most 1000"),
        (f"[study]\nseed = {2**32}", "study.seed: expected a whole number of at most 2147483647"),
        (f"[study]\nseed = 0x{'f' * 5000}", "more than 40 digits"),
        (f"[study]\n{'x' * 9000} = 1", r"unknown key 'x{60}'; known keys"),
    ],
)
def test_what_is_not_understood_is_one_clear_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        parse_study(text, source="mine.toml")
    assert str(caught.value).startswith("mine.toml: ")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml: cannot read the study: No such file"):
        load_study(tmp_path / "nowhere.toml")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("1h30m", 5400), ("2d", 172800), (45, 45)],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-5m", "0", "5 parsecs", None, float("nan"), 0, True])
def test_durations_that_are_none(text: object) -> None:
    with pytest.raises(InputError, match="expected a positive duration"):
        parse_seconds(text)


def test_fingerprint_covers_what_changes_a_record_and_nothing_else() -> None:
    base = Study(options={"vocabulary": 1024})
    same = [
        replace(base, name="other"),
        replace(base, widths=(32,)),
        replace(base, lr_min=1e-5),
        replace(base, budget=Budget(seconds=1)),
        replace(base, design="grid", points=9, seeds=2),
        replace(base, arms={"a": {"clip": 0.1}}),
        replace(base, scales={"steps": (100, 200)}),
        replace(base, targets=({"hidden_size": 1024},), verify_at_target=True, allow_inert_scale=True),
    ]
    assert {fingerprint(study) for study in same} == {fingerprint(base)}
    other = [
        replace(base, trainer="a:b"),
        replace(base, options={"vocabulary": 2048}),
        replace(base, steps=301),
        replace(base, report_every=5),
        replace(base, seed=1),
        replace(base, pruner="none"),
        replace(base, pruning=PruningPolicy(patience=9)),
        replace(base, maximize=True),
        replace(base, command=("train", "{learning_rate}")),
        replace(base, command=("train", "{learning_rate}"), log=Log(metric="val/loss")),
    ]
    assert len({fingerprint(study) for study in [*other, base]}) == len(other) + 1
    assert fingerprint(base, {"data": "a"}) != fingerprint(base, {"data": "b"})


SCALES = Study(widths=(64, 128), scales={"depth": (2, 4), "batch": (8,)}, steps=300)


def test_a_target_takes_the_only_trained_value_of_a_scale_that_it_leaves_out() -> None:
    asked = replace(SCALES, targets=({"hidden_size": 1024, "depth": 12}, {"batch": 32, "depth": 2, "hidden_size": 64}))
    assert targets(asked) == (
        {"hidden_size": 1024.0, "depth": 12.0, "batch": 8.0},
        {"hidden_size": 64.0, "depth": 2.0, "batch": 32.0},
    )
    assert targets(replace(SCALES, widths=(64,), targets=({"depth": 6, "steps": 300},))) == (
        {"hidden_size": 64.0, "depth": 6.0, "batch": 8.0},
    )


def test_without_a_target_every_trained_combination_is_one() -> None:
    assert targets(SCALES) == tuple(
        {"hidden_size": width, "depth": depth, "batch": 8.0} for width in (64.0, 128.0) for depth in (2.0, 4.0)
    )


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"depth": 2}, r"target\.hidden_size: expected a value, since several are trained \(64, 128\)"),
        ({"hidden_size": 64}, r"target\.depth: expected a value, since several are trained \(2, 4\)"),
        ({"hidden_size": 64, "dpth": 2}, r"target: expected scales of this study \(hidden_size, depth, batch\)"),
        ({"hidden_size": 64, "depth": 2, "steps": 900}, r"target\.steps: expected 300.* --scale steps=300,600"),
    ],
)
def test_a_target_that_is_incomplete_or_unknown_is_one_clear_line(target, message) -> None:
    with pytest.raises(InputError, match=message):
        targets(replace(SCALES, targets=(target,)))


ARMS: dict[str, dict[str, Any]] = {
    "base": {"learning_rate": 0.01},
    "long": {"learning_rate": 0.01, "steps": 900, "hidden_size": 96, "seeds": 5, "clip": 0.1},
    "no-rate": {"clip": 0.1},
    "negative": {"learning_rate": -1.0},
    "half": {"learning_rate": 1, "steps": 0.5},
    "word": {"learning_rate": "high"},
}


def test_an_arm_lists_only_its_differences():
    study = Study(widths=(64, 128), steps=300, seeds=2, options={"clip": 1.0, "depth": 3}, arms=ARMS)
    base, long = study.arm("base"), study.arm("long")
    assert (base.learning_rate, base.hidden_size, base.steps, base.seeds) == (0.01, 64, 300, 2)
    assert (base.options, base.departures) == ({"clip": 1.0, "depth": 3}, {})
    assert (long.hidden_size, long.steps, long.seeds) == (96, 900, 5)
    assert (long.options, long.departures) == ({"clip": 0.1, "depth": 3}, {"clip": 0.1})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bass", "did you mean 'base'"),
        ("no-rate", "expected a learning_rate"),
        ("negative", "arms.negative.learning_rate: expected a positive learning rate"),
        ("half", "arms.half.steps: expected a positive whole number"),
        ("word", "arms.word.learning_rate: expected a positive learning rate"),
    ],
)
def test_an_arm_that_cannot_be_run(name, words):
    with pytest.raises(InputError, match=words):
        Study(arms=ARMS).arm(name)


LOG = {"[log]", "metrics", "metric", "step_column", "loss_pattern"}
# Settings without a default.
KNOBS = {"adam_lr", "weight_decay", "beta"}
EXAMPLES = {*LOG, *KNOBS, "command", "depth", "time", "trials", "[arms.coupled-l2]", "optimizer", "[[target]]"}


def test_the_template_offers_every_default_as_it_is() -> None:
    """What stands behind a # is what holds without it: a reader who removes one changes nothing."""
    template = (resources.files("lrtune.study") / "study-template.toml").read_text(encoding="utf-8")
    lines = [line.removeprefix("# ") for line in template.splitlines()]
    found = {re.split(r" = |  ", line)[0]: line for line in lines if re.match(r"\[|\w+ = ", line)}
    offered = {name: line for name, line in found.items() if name not in EXAMPLES}
    assert {"name", "points", "seeds", "report_every", "pruner", "floor", "grace", "tolerance"} <= offered.keys()
    assert parse_study("\n".join(offered.values())) == Study(options={"dataset": "stdlib", "batch": 16})


def test_the_template_offers_the_bundled_trainers_defaults() -> None:
    options = pytest.importorskip("bitnet.settings.options")
    template = (resources.files("lrtune.study") / "study-template.toml").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\[options\].*?(?=^\[)", template, re.MULTILINE | re.DOTALL)
    parsed = tomllib.loads(re.sub(r"^# ", "", table, flags=re.MULTILINE))["options"]
    assert len(parsed) == 4 and options.parse_options(parsed) == options.Options()
