"""The long form of the fault suite: a hundred kills, sixteen workers, twenty thousand trials. Prints its figures.

    python tests/faults/long.py kills [--kills 100] [--seed 0]
    python tests/faults/long.py sqlite-lock | reports | efficiency | size [--trials 20000]

``efficiency`` and ``size --storage URL`` want PostgreSQL: give a URL, or have its server installed.
"""

import argparse
import random
import resource
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import scene
from commands import is_alive

sys.path.insert(0, str(scene.HERE))


def kills(count: int, seed: int, folder: Path) -> bool:
    """Kill workers, the parent, or both, at random moments, until `count` kills are done; then let it finish."""
    dice = random.Random(seed)
    settings: dict[str, Any] = {
        "study": {"widths": [16, 24, 32, 48, 64, 96, 128, 192], "points": 12},
        "attempts": 50,
        "trainer": "steady",
    }
    code, said = scene.finish(scene.start(folder / "untouched", **settings), 600)
    assert code == 0, said
    whole = scene.essence(scene.records(folder / "untouched"))
    out, done = folder / "run", Counter[str]()
    search, began = scene.start(out, **settings), time.monotonic()
    while sum(done.values()) < count:
        if dice.random() < 0.8:  # else it is hit while it starts
            scene.until(lambda out=out, search=search: scene.running(out) or search.poll() is not None, 60, "a run")  # type: ignore[misc]
        time.sleep(dice.uniform(0.0, 1.0))
        if search.poll() is not None:
            code, said = scene.finish(search)
            if code == 0 and len(scene.records(out)) >= len(whole):
                print(f"the search ended after {sum(done.values())} kills; it begins anew in another folder")
                assert scene.essence(scene.records(out)) == whole, "records differ"
                out = folder / f"run{sum(done.values())}"
            search = scene.start(out, **settings)
            continue
        workers = scene.workers_of(search.pid)
        victim = dice.choice(["worker", "parent", "both"])
        if victim != "parent" and workers:
            scene.kill(dice.choice(workers))
        if victim != "worker" or not workers:
            scene.kill(search.pid)
            scene.finish(search)
            scene.until(lambda workers=workers: not any(map(is_alive, workers)), 20, "the workers' end")  # type: ignore[misc]
            search = scene.start(out, **settings)
        done[victim] += 1
    code, said = scene.finish(search, 600)
    if code != 0:
        print(said)
        code, said = scene.finish(scene.start(out, **settings), 600)
    found = scene.records(out)
    same = scene.essence(found) == whole
    for row in sorted(set(whole) ^ set(scene.essence(found)))[:6]:
        print(f"  {'untouched' if row in whole else 'killed'}: {row[:1500]}")
    tries = Counter(record.attempt for record in found)
    print(f"kills: {sum(done.values())} ({dict(done)}) in {time.monotonic() - began:.0f} s; {len(found)} records,")
    print(f"  untouched: {len(whole)}; equal: {same}; doubles: {len(found) - len(set(scene.essence(found)))};")
    print(f"  attempts: {dict(sorted(tries.items()))}; statuses: {dict(Counter(r.status for r in found))}")
    return same and code == 0


def sqlite_lock(folder: Path) -> bool:
    """Another process holds SQLite's write lock for 20 s."""
    out = folder / "run"
    search = scene.start(out)
    scene.until(lambda: len(scene.records(out)) >= 3, what="a few records")
    with sqlite3.connect(out / "study.db", isolation_level=None, timeout=10) as other:
        other.execute("BEGIN IMMEDIATE")
        time.sleep(20)
        other.execute("ROLLBACK")
    other.close()
    code, said = scene.finish(search)
    print(f"locked for 20 s: exit {code}, {len(scene.records(out))} records; {said.strip()}")
    return code == 0


def reports(folder: Path) -> bool:
    """One run of 4,000 reports beside one that reports once: what the reports cost, in turns."""
    took: dict[str, list[float]] = {"one": [], "all": []}
    for turn in range(5):
        for how, times in took.items():
            study = {"steps": 4000, "report_every": 1, "options": {"reports": how}}
            once: dict[str, Any] = {"tasks": [{"hidden_size": 32, "learning_rate": 0.01}], "workers": 1, "study": study}
            code, said = scene.finish(scene.start(folder / f"{how}{turn}", "often", **once))
            assert code == 0, said
            (record,) = scene.records(folder / f"{how}{turn}")
            assert len(record.curve["step"]) == (4001 if how == "all" else 1), record.why
            times.append(record.seconds)
    one, every = (sorted(times)[2] for times in took.values())
    each = 1000 * (every - one) / 4000
    print(f"one report: {one:.3f} s; 4,001 reports: {every:.3f} s, {each:.3f} ms each (medians of 5)")
    return every - one < 4.0


def efficiency(url: str, folder: Path) -> bool:
    """16 workers with a trainer that sleeps 5 s: the share of their time that is spent training."""
    tasks = [{"hidden_size": 32, "learning_rate": 0.001 * number} for number in range(1, 129)]
    settings: dict[str, Any] = {"tasks": tasks, "workers": 16, "storage": url}
    search = scene.start(folder / "run", "sleeper", **settings)
    scene.until(lambda: scene.records(folder / "run"), 120, "a record")
    first = time.monotonic() - 5
    code, _ = scene.finish(search, 600)
    took, found = time.monotonic() - first, scene.records(folder / "run")
    keys = {(record.hidden_size, record.learning_rate, record.seed) for record in found}
    busy = sum(record.seconds for record in found)
    share = 5.0 * len(found) / (16 * took)
    print(f"16 workers, {len(found)} runs of 5 s: {took:.1f} s from the first start; efficiency {share:.1%};")
    print(f"  doubles {len(found) - len(keys)}; trained {busy:.0f} s in all; exit {code}")
    return code == 0 and len(keys) == len(found)


def size(url: str | None, trials: int, folder: Path) -> bool:
    """A study of many trials: what joining it, asking and telling cost."""

    from lrtune.records.jsonl import from_json, to_json
    from lrtune.records.record import TrialRecord
    from lrtune.search.optuna_study import Trials
    from lrtune.search.workers.leases import Leases
    from lrtune.search.workers.owner import new_owner
    from lrtune.search.workers.spec import StudySpec
    from lrtune.search.workers.storage import open_engine, sqlite_url
    from lrtune.study.task import Task
    from lrtune.study.toml import to_toml

    where, name = url or sqlite_url(folder), f"size{time.time_ns()}"
    leases, optuna_side = Leases(open_engine(where), name), Trials(where, name)
    leases.create(StudySpec(study=to_toml(scene.study(name=name)), fingerprint="f"))
    owner, curve = new_owner(), [float(step) for step in range(13)]

    def one(number: int) -> float:
        """Ask, train nothing, tell; returns the seconds that took: of this process with SQLite, which is part of it."""
        began = time.process_time() if url is None else time.perf_counter()
        task = Task(hidden_size=32, learning_rate=1e-3 * 1.0001**number)
        trial = optuna_side.add(task)
        leases.add(trial, task)
        (lease,) = leases.claim(owner)
        record = TrialRecord(
            trial=trial, hidden_size=32, learning_rate=task.learning_rate, seed=0, status="finished", steps=12,
            steps_done=12, loss=3.0, diversity=0.5, curve={"step": curve, "loss": curve, "diversity": curve},
        )  # fmt: skip
        leases.finish(lease, to_json(record))
        for told, result in leases.done():
            optuna_side.tell(from_json(result), 0.1)
            leases.told(told)
        return (time.process_time() if url is None else time.perf_counter()) - began

    marks, times = {100, 1000, 5000, trials}, []
    for number in range(1, trials + 1):
        times.append(one(number))
        if number in marks:
            last = sorted(times[-100:])
            print(f"  {number} trials: ask + tell {1000 * last[50]:.1f} ms (median of the last 100), "
                  f"{1000 * last[95]:.1f} ms (95%)")  # fmt: skip
    began = time.perf_counter()
    join = Leases(open_engine(where), name)
    assert join.spec() is not None and not join.claim(new_owner())
    print(f"  a worker joins in {time.perf_counter() - began:.3f} s (imports aside)")
    began = time.perf_counter()
    again = Trials(where, name)
    stored = again.read().records
    took = time.perf_counter() - began
    print(f"  a search that is started again knows its {len(stored)} records after {took:.1f} s")
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    return took <= 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["kills", "sqlite-lock", "reports", "efficiency", "size"])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--storage")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lrtune-faults-") as folder:
        match given.what:
            case "kills":
                fine = kills(given.kills, given.seed, Path(folder))
            case "sqlite-lock":
                fine = sqlite_lock(Path(folder))
            case "reports":
                fine = reports(Path(folder))
            case "efficiency":
                fine = efficiency(given.storage, Path(folder))
            case _:
                fine = size(given.storage, given.trials, Path(folder))
    print("as it should be" if fine else "NOT as it should be")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
