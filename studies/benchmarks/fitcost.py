"""What do a fit, an ask of the search and an answer of the rule cost, by number of runs and of sizes?

    python studies/benchmarks/fitcost.py
    python studies/benchmarks/fitcost.py --runs 40,400 --sizes 4 --rounds 5

Processor time of one thread. "Ask" is one run chosen by the sampler and told, with all trials in memory; "first" is
the first ask of a search that resumes with so many. "Answer" is one `recommend` at a size that was not trained.
"""

import argparse
import math
import time
from collections.abc import Callable

import numpy as np
import optuna
from drawn import make_record
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from lrtune.law.fit import fit_law
from lrtune.records.record import TrialRecord
from lrtune.rule import recommend, rule_to_json
from lrtune.search.sampling.sampler import ScaleAwareSampler

WIDTHS = (48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, *(1024 * k for k in range(2, 12)))
TOKENS = tuple(1e6 * 2**k for k in range(10))


def drawn_records(count: int, sizes: int, token_counts: int = 1, seed: int = 0) -> list[TrialRecord]:
    """Runs at random rates of so many sizes: some beaten, those too high diverged."""
    rng = np.random.default_rng(seed)
    records = []
    for number in range(count):
        width, x = int(rng.choice(WIDTHS[:sizes])), rng.uniform(-3.5, 3.5)
        status = "diverged" if x > 2.5 else "beaten" if abs(x) > 1 and rng.random() < 0.2 else "finished"
        loss = 3 * (1 + 0.02 * x * x * (1.5 if x > 0 else 1) + rng.normal(0, 0.005)) if status == "finished" else None
        scales = {"tokens": float(rng.choice(TOKENS[:token_counts]))} if token_counts > 1 else {}
        records.append(make_record(number, width, 2.0**x * 0.3 / width, int(rng.integers(5)), status, loss, scales))
    return records


def seconds(work: Callable[[], object], rounds: int = 1) -> float:
    """Processor time, the median of so many rounds."""
    used = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        used.append(time.process_time() - start)
    return float(np.median(used))


def ask(count: int, sizes: int, rounds: int) -> tuple[float, float]:
    """Milliseconds: the first ask over so many trials in memory, and to tell one and ask for one more, the median."""
    widths = WIDTHS[:sizes]
    space = {"hidden_size": IntDistribution(1, 10**6), "learning_rate": FloatDistribution(1e-6, 10.0, log=True)}
    sampler = ScaleAwareSampler(widths, lr_range=(1e-4, 1.0), search_space=space, seed=0)
    study = optuna.create_study(sampler=sampler)
    for record in drawn_records(count, sizes):
        params = {"hidden_size": record.hidden_size, "learning_rate": record.learning_rate}
        state = TrialState.COMPLETE if record.status == "finished" else TrialState.PRUNED
        study.add_trial(create_trial(params=params, distributions=space, value=record.loss, state=state))

    def more() -> None:
        trial = study.ask(space)
        width, rate = trial.params["hidden_size"], trial.params["learning_rate"]
        study.tell(trial, 3 * (1 + 0.02 * math.log2(rate * width / 0.3) ** 2))

    return 1e3 * seconds(more), 1e3 * seconds(more, rounds)


def line(count: int, sizes: int, token_counts: int, rounds: int) -> str:
    records = drawn_records(count, sizes, token_counts)
    scales = ("hidden_size", "tokens") if token_counts > 1 else ("hidden_size",)
    rule = fit_law(records, scales=scales).rule
    fit = seconds(lambda: fit_law(records, scales=scales), 1 if count > 1000 else 3)
    asked = {"hidden_size": 100.0, "tokens": 3e6} if token_counts > 1 else {"hidden_size": 100.0}
    answer = 1e3 * seconds(lambda: [recommend(rule=rule, **asked) for _ in range(10)], rounds) / 10
    size = len(rule_to_json(rule)) / 1e3
    # No search makes thousands of runs, and the sampler knows one scale.
    first, more = ask(count, sizes, rounds) if token_counts == 1 and count <= 1000 else (float("nan"), float("nan"))
    return f"| {count} | {sizes} × {token_counts} | {fit:.2f} | {first:.0f} | {more:.1f} | {answer:.2f} | {size:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", default="40,400,1000,5000")
    parser.add_argument("--sizes", default="4,10")
    parser.add_argument("--rounds", type=int, default=9, help="asks and answers of which the median is taken")
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print("| runs | sizes × token counts | fit, s | first ask, ms | ask, ms | answer, ms | rule, kB |")
    print("|---" * 7 + "|")
    for count in (int(n) for n in given.runs.split(",")):
        for sizes in (int(n) for n in given.sizes.split(",")):
            print(line(count, sizes, 1, given.rounds), flush=True)
        for widths, tokens in ((4, 4), (20, 6), (20, 10)):
            if count >= 2 * widths * tokens:
                print(line(count, widths, tokens, given.rounds), flush=True)
    print(f"\nmedians of {given.rounds}; {time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    main()
