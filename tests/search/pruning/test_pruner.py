"""CollapsePruner in an ordinary Optuna study, in memory and in SQLite."""

import math
import pickle
import re
import textwrap
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from lrtune.errors import InputError
from lrtune.search.pruning import pruner as module
from lrtune.search.pruning.pruner import CollapsePruner, report_diversity
from lrtune.study.study import PruningPolicy

optuna.logging.set_verbosity(optuna.logging.WARNING)
STEPS = 1000
KNOWN: dict[str, Any] = {"vocabulary_size": 8192, "unigram_entropy": 6.09}


def run(study, losses, diversities, *, params=None, attributes=None):
    """One trial through ask, report and tell; returns it as it ended."""
    study.enqueue_trial({"hidden_size": 64, "learning_rate": 0.01, **(params or {})}, user_attrs=attributes)
    trial = study.ask()
    trial.suggest_int("hidden_size", 1, 1024)
    trial.suggest_float("learning_rate", 1e-6, 10, log=True)
    for i, loss in enumerate(losses):
        step = STEPS // len(losses) * (i + 1)
        if diversities is not None:
            report_diversity(trial, step, diversities[i])
        trial.report(loss, step)
        if trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            break
    else:
        study.tell(trial, losses[-1])
    return study.trials[-1]


@pytest.mark.parametrize(
    ("losses", "diversities", "arguments", "last_step"),
    [
        ([7.0] * 10, [0.02] * 10, {}, 300),  # grace until 250, three low reports
        ([7.0] * 10, [0.02] * 10, {"policy": PruningPolicy(grace=0.5)}, 500),
        ([7.0] * 10, [0.02] * 10, {"regime_changes": (600,)}, 900),
        ([7.0] * 10, None, {}, 1000),
        ([7.0 - 0.3 * i for i in range(10)], [0.3] * 10, {}, 1000),
        ([9.0, math.nan, 9.0, 9.0], [0.5] * 4, {}, 500),
        ([9.0, 12.0, 9.0, 9.0], [0.5] * 4, {}, 500),
        ([7.0] * 10, [0.02] * 9 + [math.nan], {"policy": PruningPolicy(grace=0.95)}, 1000),
    ],
)
def test_where_it_prunes(losses, diversities, arguments, last_step):
    study = optuna.create_study(pruner=CollapsePruner(STEPS, **KNOWN, **arguments))
    trial = run(study, losses, diversities)
    assert trial.last_step == last_step
    assert trial.state == (TrialState.COMPLETE if last_step == STEPS else TrialState.PRUNED)


def test_steps_may_be_epochs():
    study = optuna.create_study(pruner=CollapsePruner(20, **KNOWN))
    trial = study.ask()
    for epoch in range(1, 8):
        report_diversity(trial, epoch, 0.02)
        trial.report(7.0, epoch)
    assert trial.should_prune()
    as_in_a_search = CollapsePruner(20, **KNOWN, policy=PruningPolicy()).judge(study, study.trials[-1])
    assert as_in_a_search.kind == "suspect"
    assert "of 50 steps" in as_in_a_search.reason


def test_in_sqlite_as_in_memory(tmp_path):
    study = optuna.create_study(storage=f"sqlite:///{tmp_path}/study.db", pruner=CollapsePruner(STEPS, **KNOWN))
    assert run(study, [7.0] * 10, [0.02] * 10).last_step == 300


def test_peers_are_those_of_the_same_width():
    good, bad = [7.0 - 0.3 * i for i in range(10)], [7.0 - 0.02 * i for i in range(10)]
    study = optuna.create_study(pruner=CollapsePruner(STEPS, **KNOWN))
    for _ in range(3):
        run(study, good, [0.3] * 10, params={"hidden_size": 64})
    assert run(study, bad, [0.3] * 10, params={"hidden_size": 128}).state == TrialState.COMPLETE
    assert run(study, bad, [0.3] * 10, params={"hidden_size": 64}).state == TrialState.PRUNED
    assert isinstance(study.pruner, CollapsePruner)
    judged = study.pruner.judge(study, study.trials[-1])
    assert judged.kind == "beaten"
    assert "by its peer at" in judged.reason


def test_trials_of_another_horizon_are_no_peers_and_end_no_study():
    study = optuna.create_study(pruner=optuna.pruners.NopPruner())
    study.enqueue_trial({"hidden_size": 64})
    trial = study.ask()
    trial.suggest_int("hidden_size", 1, 1024)
    for step in (1000, 2000):
        trial.report(1.0, step)
    study.tell(trial, 1.0)
    study.pruner = CollapsePruner(STEPS, **KNOWN)
    assert run(study, [7.0 - 0.3 * i for i in range(10)], None).state == TrialState.COMPLETE
    own = {"diversity": 0.5}  # an attribute of the user's
    assert run(study, [7.0 - 0.3 * i for i in range(10)], None, attributes=own).state == TrialState.COMPLETE
    assert run(study, [7.0 - 0.3 * i for i in range(10)], [0.5] * 10, attributes=own).state == TrialState.COMPLETE


def test_a_finished_trial_is_read_once_and_only_for_a_verdict_against_peers(monkeypatch):
    read = []
    curve = CollapsePruner._curve
    monkeypatch.setattr(CollapsePruner, "_curve", lambda self, t: read.append(t.number) or curve(self, t))
    study = optuna.create_study(pruner=CollapsePruner(STEPS, **KNOWN))
    for _ in range(5):
        run(study, [7.0 - 0.3 * i for i in range(10)], [0.3] * 10, params={"hidden_size": 64})
    assert read.count(0) == 10 + 1, "at each of its own reports, and once as a peer"
    read.clear()
    run(study, [7.0], [0.3], params={"hidden_size": 64})
    assert set(read) == {5}, "at the last step nothing is beaten: no peer is looked for"


def test_one_pruner_may_serve_two_studies():
    good, bad = [7.0 - 0.3 * i for i in range(10)], [7.0 - 0.02 * i for i in range(10)]
    first, second = (optuna.create_study(pruner=pruner) for pruner in [CollapsePruner(STEPS, **KNOWN)] * 2)
    run(first, good, [0.3] * 10, params={"hidden_size": 64})
    run(second, bad, [0.3] * 10, params={"hidden_size": 64})
    assert run(second, bad, [0.3] * 10, params={"hidden_size": 64}).state == TrialState.COMPLETE
    assert run(first, bad, [0.3] * 10, params={"hidden_size": 64}).state == TrialState.PRUNED


def test_a_pruner_that_has_judged_can_be_pickled():
    good, bad = [7.0 - 0.3 * i for i in range(10)], [7.0 - 0.02 * i for i in range(10)]
    study = optuna.create_study(pruner=CollapsePruner(STEPS, **KNOWN))
    for _ in range(2):
        run(study, good, [0.3] * 10, params={"hidden_size": 64})
    study.pruner = pickle.loads(pickle.dumps(study.pruner))
    assert run(study, bad, [0.3] * 10, params={"hidden_size": 64}).state == TrialState.PRUNED


def test_a_group_may_be_any_attribute():
    good, bad = [7.0 - 0.3 * i for i in range(10)], [7.0 - 0.02 * i for i in range(10)]
    study = optuna.create_study(pruner=CollapsePruner(STEPS, **KNOWN, group_by="shape"))
    ended = []
    for shape, losses in (([64, 4], good), ([64, 8], bad), ([64, 4], bad)):
        ended.append(run(study, losses, [0.3] * 10, attributes={"shape": shape}).state)
    assert ended == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED]


def test_the_example_in_the_docstring_runs():
    example = textwrap.dedent(re.split(r"::\n", module.__doc__, maxsplit=1)[1])
    scope: dict[str, Any] = {}
    exec(compile(example, "example", "exec"), scope)
    study = scope["study"]
    pruned = [trial for trial in study.trials if trial.state == TrialState.PRUNED]
    assert pruned
    assert all(trial.last_step < 1000 for trial in pruned)
    assert study.best_params["learning_rate"] < 0.1


def test_bad_input():
    with pytest.raises(InputError, match="planned step"):
        CollapsePruner(0)
    study = optuna.create_study(direction="maximize", pruner=CollapsePruner(STEPS))
    with pytest.raises(InputError, match="minimises"):
        run(study, [1.0], None)
    with pytest.raises(InputError, match="at least 0"):
        report_diversity(optuna.create_study().ask(), 1, -0.1)
    with pytest.raises(InputError, match="within 0 … 1000"):
        trial = optuna.create_study(pruner=CollapsePruner(STEPS)).ask()
        trial.report(1.0, 2000)
        trial.should_prune()
