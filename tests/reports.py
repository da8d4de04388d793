"""Runs to report on, and what a page holds."""

import base64
import json
import math
import re
import zlib
from dataclasses import replace
from pathlib import Path

from builders import finished_run

from lrtune.law.fit import fit_run
from lrtune.records.jsonl import write_records
from lrtune.records.record import TrialRecord
from lrtune.rule import save_rule
from lrtune.study.study import Study
from lrtune.study.toml import to_toml
from lrtune.trainer.trial import Facts

RATES = [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064]


def records(widths: tuple[int, ...] = (32, 64, 128)) -> list[TrialRecord]:
    """Runs with their best rate at 0.3 / width: high ones diverge or collapse, a middling one is beaten."""
    made: list[TrialRecord] = []
    for width in widths:
        for rate in RATES:
            octaves = math.log2(rate * width / 0.3)
            loss = 4.0 + 0.03 * octaves**2
            status = "diverged" if octaves > 4.5 else "collapsed" if octaves > 3.5 else "finished"
            status = "beaten" if octaves < -3.5 else status
            steps = list(range(0, 101 if status == "finished" else 51, 10))
            made.append(
                finished_run(
                    width,
                    rate,
                    None if status == "diverged" else loss,
                    trial=len(made),
                    status=status,
                    why="" if status == "finished" else f"{status} <b>for</b> a reason",
                    steps_done=steps[-1],
                    diversity=0.5,
                    curve={
                        "step": steps,
                        "loss": [loss + 3 * math.exp(-step / 20) for step in steps],
                        "diversity": [min(0.5, step / 100) for step in steps],
                    },
                    facts=Facts(parameters=12 * width**2, tokens_per_step=1024),
                )
            )
    return made


def write_run(folder: Path, found: list[TrialRecord], *, name: str = "mine", rule: bool = True) -> Path:
    folder.mkdir()
    (folder / "study.toml").write_text(to_toml(Study(name=name, widths=(32, 64, 128))))
    write_records(folder / "records.jsonl", found)
    if rule:
        save_rule(fit_run(found).rule, folder / "rule.json")
    return folder


def unpacked(page: str) -> tuple[dict[str, dict[str, object]], str]:
    """The charts of a page, and the library that draws them."""
    found = re.search(r'<script type="application/json" id="packed">(.*?)</script>', page, re.S)
    assert found is not None
    charts, library = (zlib.decompress(base64.b64decode(part)).decode() for part in json.loads(found.group(1)))
    return json.loads(charts), library


def specs(page: str) -> dict[str, dict[str, object]]:
    return unpacked(page)[0]


def of_a_known_model() -> list[TrialRecord]:
    facts = Facts(parameters=10**6, tokens_per_step=1024, conditions={"model": "bitnet-b1.58"})
    return [replace(record, facts=facts) for record in records((512, 1024, 2048))]
