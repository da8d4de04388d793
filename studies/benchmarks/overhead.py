"""What the tuner itself costs: CPU milliseconds to ask, prune and tell with 10, 1,000 and 20,000 trials in the study.

    python studies/benchmarks/overhead.py

"first" is the first ask of a process, which reads all trials. The storage in memory shows the sampler's own cost, a
random sampler without a pruner Optuna's; "tuned" is SQLite as lrtune's searches open it, with a write-ahead log. SQLite
is filled up to 1,000 trials only, since filling takes longer than measuring.

The second table is what a trial costs in `lrtune search` beside its training: assessing and choosing (propose),
queueing, the worker's claim and hand-in, and collecting, which tells Optuna and writes the record. It is measured as if
the search went on, which at four widths it does to 240 trials at most. What a whole search costs: search_cpu.py.
"""

import argparse
import math
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import RDBStorage
from optuna.trial import create_trial

from lrtune.records.folder import RunFolder
from lrtune.records.jsonl import to_json
from lrtune.records.record import TrialRecord
from lrtune.search.adaptive import AdaptiveDesign
from lrtune.search.optuna_study import Trials
from lrtune.search.pruning.pruner import CollapsePruner
from lrtune.search.queue import TaskQueue
from lrtune.search.sampling.sampler import ScaleAwareSampler
from lrtune.search.workers.leases import Leases
from lrtune.search.workers.owner import new_owner
from lrtune.search.workers.spec import StudySpec
from lrtune.search.workers.storage import open_engine, sqlite_url, tune
from lrtune.study.study import Study
from lrtune.study.task import Task
from lrtune.trainer.trial import Facts

WIDTHS = (32, 64, 128, 256)
SPACE = {"hidden_size": IntDistribution(1, 10**6), "learning_rate": FloatDistribution(1e-6, 10.0, log=True)}
REPORTS = 10
STEP = 50  # of 100: late enough for a verdict against peers
NUMBERS = (
    "diversity",
    "grad_norm",
    "update_ratio",
    "zeros",
    "flips",
    "entropy",
)  # about what the bundled trainer reports


def loss_at(width: int, rate: float, rng: np.random.Generator) -> float:
    """A surface with its optimum at 0.3 / width, and noise."""
    return 4.0 * math.exp(min(0.01 * math.log2(rate * width / 0.3) ** 2, 0.5) + 0.003 * rng.standard_normal())


def fill(study: optuna.Study, count: int, rng: np.random.Generator) -> None:
    """Finished trials at random widths and rates."""
    for _ in range(count):
        width, rate = int(rng.choice(WIDTHS)), float(10 ** rng.uniform(-4, 0))
        loss = loss_at(width, rate, rng)
        reports = {10 * k: loss * (1.6 - 0.06 * k) for k in range(1, REPORTS + 1)}
        params = {"hidden_size": width, "learning_rate": rate}
        study.add_trial(create_trial(params=params, distributions=SPACE, value=loss, intermediate_values=reports))


def measure(study: optuna.Study, rounds: int) -> list[float]:
    """Milliseconds: the first ask, then medians of ask, of report + should_prune, of tell."""
    times: list[tuple[float, float, float]] = []
    for _ in range(rounds):
        start = time.process_time()
        trial = study.ask(SPACE)
        asked = time.process_time()
        trial.report(5.0, STEP)
        trial.should_prune()
        pruned = time.process_time()
        study.tell(trial, 4.2)
        times.append((asked - start, pruned - asked, time.process_time() - pruned))
    columns = np.array(times) * 1000
    return [columns[0, 0], *np.median(columns[1:], axis=0)]


def ours() -> BaseSampler:
    return ScaleAwareSampler(WIDTHS, lr_range=(1e-4, 1.0), search_space=SPACE, seed=0)


def optunas() -> BaseSampler:
    return RandomSampler(seed=0)


def in_memory(count: int, rounds: int) -> None:
    study = optuna.create_study(sampler=ours(), pruner=CollapsePruner(steps=100))
    fill(study, count, np.random.default_rng(0))
    show("memory", count, measure(study, rounds))


def in_sqlite(count: int, rounds: int, folder: Path) -> None:
    """One file, filled once and copied for each way of using it."""
    filled = folder / f"{count}.db"
    fill(optuna.create_study(storage=f"sqlite:///{filled}", study_name="s"), count, np.random.default_rng(0))
    ways: list[tuple[str, Callable[[], BaseSampler], optuna.pruners.BasePruner, bool]] = [
        ("SQLite", ours, CollapsePruner(steps=100), False),
        ("SQLite, RandomSampler, NopPruner", optunas, optuna.pruners.NopPruner(), False),
        ("SQLite tuned", ours, CollapsePruner(steps=100), True),
        ("SQLite tuned, RandomSampler, NopPruner", optunas, optuna.pruners.NopPruner(), True),
    ]
    for name, sampler, pruner, is_tuned in ways:
        copy = Path(shutil.copy(filled, folder / "copy.db"))
        storage = RDBStorage(f"sqlite:///{copy}")
        if is_tuned:
            tune(storage.engine)
        show(
            name,
            count,
            measure(optuna.load_study(study_name="s", storage=storage, sampler=sampler(), pruner=pruner), rounds),
        )
        storage.remove_session()
        storage.engine.dispose()
        for file in folder.glob("copy.db*"):
            file.unlink()


def show(name: str, count: int, times: list[float]) -> None:
    first, ask, prune, tell = times
    row = " | ".join(f"{value:.1f}" for value in (first, ask, prune, tell, ask + tell))
    print(f"| {name} | {count:,} | {row} |", flush=True)


class Search:
    """The parts of `lrtune search` around its storage, with a worker that trains nothing."""

    def __init__(self, folder: Path, count: int) -> None:
        self.rng = np.random.default_rng(0)
        study = Study(name="s", widths=WIDTHS, lr_min=1e-4, lr_max=1.0)
        found = RunFolder(folder)
        rates = 10 ** self.rng.uniform(-4, 0, count)
        tasks = [Task(hidden_size=int(self.rng.choice(WIDTHS)), learning_rate=float(rate)) for rate in rates]
        lines = [self.record(number, task) + "\n" for number, task in enumerate(tasks)]
        found.records_path.write_text("".join(lines))  # a search takes what its storage lacks from this file
        url = sqlite_url(folder)
        self.leases, self.worker = Leases(open_engine(url), "s"), Leases(open_engine(url), "s")
        self.leases.create(StudySpec(study="", fingerprint="f"))
        self.queue = TaskQueue(self.leases, Trials(url, "s"), found, study, 5, lambda event: None)
        self.queue.restore()
        self.design = AdaptiveDesign(study)
        self.me = new_owner()
        self.queue.add(self.propose())

    def record(self, number: int, task: Task) -> str:
        steps = list(range(0, 301, 25))
        loss = loss_at(task.hidden_size, task.learning_rate, self.rng)
        curve = {"loss": [loss * (1.6 - 0.002 * step) for step in steps]} | {
            n: [loss / 3] * len(steps) for n in NUMBERS
        }
        record = TrialRecord(
            trial=number,
            hidden_size=task.hidden_size,
            learning_rate=task.learning_rate,
            seed=task.seed,
            status="finished",
            steps=300,
            steps_done=300,
            loss=loss,
            diversity=0.5,
            curve={"step": steps, **curve},
            facts=Facts(parameters=48 * task.hidden_size**2, tokens_per_step=2048),
        )
        return to_json(record)

    def propose(self) -> list[Task]:
        pending = list(self.queue.pending.values())
        return self.design.propose(self.queue.usable(), pending, len(pending) + 1)

    def trial(self) -> tuple[float, ...]:
        """One trial from the proposal to its record, while another one waits: CPU seconds of each step."""
        now = [time.process_time()]
        tasks = self.propose()
        now.append(time.process_time())
        self.queue.add(tasks)
        now.append(time.process_time())
        [lease] = self.worker.claim(self.me)
        result = self.record(lease.trial, self.queue.pending[lease.trial])
        self.worker.finish(lease, result)
        now.append(time.process_time())
        self.queue.collect()
        now.append(time.process_time())
        return tuple(np.diff(now))


def in_search(count: int, rounds: int, folder: Path) -> None:
    folder.mkdir()
    search = Search(folder, count)
    times = 1000 * np.median([search.trial() for _ in range(rounds)][1:], axis=0)
    print(f"| {count:,} | {' | '.join(f'{value:.1f}' for value in (*times, times.sum()))} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21)
    rounds = parser.parse_args().rounds
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, one thread; CPU ms\n")
    print("| storage | trials | first ask | ask | report + prune | tell | ask + tell |\n|---|---|---|---|---|---|---|")
    for count in (10, 1_000, 20_000):
        in_memory(count, rounds)
    with tempfile.TemporaryDirectory() as folder:
        for count in (10, 1_000):
            in_sqlite(count, rounds, Path(folder))
        print("\n| trials | propose | queue | claim + hand in | collect | all |\n|---|---|---|---|---|---|")
        for count in (10, 1_000):
            in_search(count, rounds, Path(folder) / f"search-{count}")


if __name__ == "__main__":
    main()
