"""Inputs made to hang, crash, leak or drive the terminal: each verb answers in one short line."""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from builders import finished_run

from lrtune.cli import run as run_cli
from lrtune.errors import InputError
from lrtune.records.jsonl import to_json
from lrtune.search.workers.leases import Leases
from lrtune.search.workers.spec import StudySpec
from lrtune.search.workers.storage import open_engine, sqlite_url
from lrtune.study.study import Study
from lrtune.study.task import Task
from lrtune.study.toml import load_study, to_toml

pytestmark = pytest.mark.slow

Make = Callable[[Path], object]

ESCAPES = "\x1b]52;c;eA==\x07\x9b2J\u202e"
DEEP = "[" * 100_000 + "]" * 100_000
GOOD = "w,lr,loss\n" + "".join(
    f"{w},{rate},{3 + abs(i - 1) / 10}\n" for w in (64, 128) for i, rate in enumerate((0.01, 0.02, 0.04))
)
COLUMNS = ["--lr", "lr", "--loss", "loss", "--scale", "hidden_size=w"]
FIT = ["fit", "t.csv", *COLUMNS, "-o", "o.json"]
RECORD = finished_run(32, 0.01, 3.0, steps=10)


def text(name: str, content: str | bytes) -> Make:
    def make(folder: Path) -> None:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    return make


def run_folder(*lines: str, name: str = "run") -> Make:
    """A run folder with these lines after its two records."""

    def make(folder: Path) -> None:
        text(f"{name}/study.toml", to_toml(Study(name="x", widths=(32, 64), trainer="evil:train")))(folder)
        good = [to_json(RECORD), to_json(RECORD).replace('"trial":0', '"trial":1')]
        text(f"{name}/records.jsonl", "\n".join((*good, *lines)) + "\n")(folder)

    return make


def changed(**fields: object) -> str:
    return json.dumps({**json.loads(to_json(RECORD)), "trial": 7, **fields})


def search_database(statement: str, *values: object) -> Make:
    """A run folder whose database a stranger has changed."""

    def make(folder: Path) -> None:
        run_folder()(folder)
        leases = Leases(open_engine(sqlite_url(folder / "run")), "x")
        leases.create(StudySpec(study=to_toml(Study(name="x")), fingerprint="f"))
        leases.add(0, Task(hidden_size=32, learning_rate=0.01))
        leases.close()
        with closing(sqlite3.connect(folder / "run" / "study.db")) as database, database:
            database.execute(statement, values)

    return make


STATUS = ["status", "run"]
WORKER = ["worker", "--storage", "sqlite:///run/study.db", "--study", "x"]
DRY_RUN = ["search", "s.toml", "--dry-run"]

CASES: dict[str, tuple[list[str], Make]] = {
    # Tables
    "a header of escapes": (["fit", "t.csv", "-o", "o.json"], text("t.csv", f"w{ESCAPES},lr\x1b[31m,loss\n1,2,3\n")),
    "a column of escapes": ([*FIT[:-3], f"hidden_size=w{ESCAPES}"], text("t.csv", GOOD)),
    "100,000 columns": (FIT, text("t.csv", ",".join(map(str, range(100_000))) + "\n1\n")),
    "an open quote": (FIT, text("t.csv", 'w,lr,loss\n"' + "x" * 5_000_000)),
    "a zero byte": (FIT, text("t.csv", "w,lr,loss\n64,0.\x001,3\n")),
    "integers of 400 digits": (FIT, text("t.csv", GOOD.replace("64", "9" * 400))),
    "a deep condition": ([*FIT, "--failed-when", "(" * 5000 + "loss>1" + ")" * 5000], text("t.csv", GOOD)),
    "a condition of code": ([*FIT, "--failed-when", "__import__('os').system('id')"], text("t.csv", GOOD)),
    "a power of powers": ([*FIT, "--failed-when", "loss > 9**9**9**9"], text("t.csv", GOOD)),
    "deep JSON": (["fit", "t.json", *COLUMNS], text("t.json", DEEP)),
    "a deep JSON line": (["fit", "t.jsonl", *COLUMNS], text("t.jsonl", '{"a":' * 50_000 + "1" + "}" * 50_000)),
    "a JSON integer of 5,000 digits": (["fit", "t.json", *COLUMNS], text("t.json", f'[{{"lr":{"9" * 5000}}}]')),
    "JSON of one string": (["fit", "t.json", *COLUMNS], text("t.json", json.dumps(ESCAPES))),
    "100,000 JSON keys, the last twice": (
        ["fit", "t.json", *COLUMNS],
        text("t.json", "[{" + ",".join(f'"{n}":1' for n in range(100_000)) + ',"99999":2}]'),
    ),
    "half a Parquet file": (["fit", "t.parquet"], text("t.parquet", b"PAR1" + b"\0" * 99 + b"\xff\xff\xff\x7fPAR1")),
    "a deep journal": (["fit", "j.log"], text("j.log", f'{{"op_code":0,"x":{DEEP}}}\n')),
    "an unknown operation in a journal": (["fit", "j.log"], text("j.log", '{"op_code":"x\\u001b[2J"}\n')),
    "half a database": (["fit", "o.db"], text("o.db", b"SQLite format 3\0" + b"\xff" * 5000)),
    "a database whose log is a pipe": (
        ["fit", "o.db"],
        lambda folder: (text("o.db", b"SQLite format 3\0" + b"\0" * 84)(folder), os.mkfifo(folder / "o.db-wal")),
    ),
    # Records of a run
    "a record of escapes, status": (STATUS, run_folder(changed(worker=ESCAPES, why=ESCAPES, device=ESCAPES))),
    "a record of escapes, fit": (["fit", "run", "-o", "o.json"], run_folder(changed(options={ESCAPES: ESCAPES}))),
    "a deep record": (STATUS, run_folder(DEEP)),
    "a record with deep options": (
        STATUS,
        run_folder(changed(options={"a": "x"}).replace('"x"', "[" * 500 + "]" * 500)),
    ),
    "a record of 17 MiB": (STATUS, run_folder('{"a":"' + "x" * (17 << 20) + '"}')),
    "a record of 100,000 keys": (STATUS, run_folder(json.dumps({str(n): 1 for n in range(100_000)}))),
    "a trial number of 4,000 digits": (STATUS, run_folder(changed().replace('"trial": 7', f'"trial": {"9" * 4000}'))),
    "columns of two lengths": (STATUS, run_folder(changed(curve={"step": [0, 1], "loss": [1.0]}))),
    "200,000 lines": (STATUS, run_folder(*["{}"] * 200_000)),
    "200,000 lines, report": (["report", "run"], run_folder(*["{}"] * 200_000)),
    "a folder name of escapes": (["status", "run\x1b[2J"], run_folder(name="run\x1b[2J")),
    "a folder name of two lines": (["status", "ru\nn"], lambda folder: None),
    # The database of a run
    "a spec that is deep": (STATUS, search_database("UPDATE lrtune_studies SET spec = ?", DEEP)),
    "a spec that is cut": (STATUS, search_database("UPDATE lrtune_studies SET spec = '{'")),
    "a task that is deep": (STATUS, search_database("UPDATE lrtune_leases SET task = ?", DEEP)),
    "a task that is a list": (STATUS, search_database("UPDATE lrtune_leases SET task = '[]', renewed = 'x'")),
    "a report that is cut": (STATUS, search_database("UPDATE lrtune_leases SET state = 'running', progress = '[1]'")),
    "a result that is deep": (STATUS, search_database("UPDATE lrtune_leases SET state = 'done', result = ?", DEEP)),
    "a result of bytes": (STATUS, search_database("UPDATE lrtune_leases SET state = 'done', result = zeroblob(9999)")),
    "a result of 200 MB": (STATUS, search_database("UPDATE lrtune_leases SET result = zeroblob(200000000)")),
    "no result": (STATUS, search_database("UPDATE lrtune_leases SET state = 'told', result = NULL")),
    "a column less": (STATUS, search_database("ALTER TABLE lrtune_leases DROP COLUMN progress")),
    "a worker of a deep spec": (WORKER, search_database("UPDATE lrtune_studies SET spec = ?", DEEP)),
    "a worker of a spec of other types": (
        WORKER,
        search_database("UPDATE lrtune_studies SET spec = ?", '{"study": 5, "fingerprint": [], "lease_seconds": "x"}'),
    ),
    "a worker of a study of escapes": (
        WORKER,
        search_database(
            "UPDATE lrtune_studies SET spec = ?", json.dumps({"study": f'["{ESCAPES}"]', "fingerprint": "f"})
        ),
    ),
    "a worker without a database": (["worker", "--storage", "sqlite:///none.db", "--study", "x"], lambda folder: None),
    # Studies
    "a deep study": (DRY_RUN, text("s.toml", f"a = {DEEP}")),
    "a table of 400,000 parts": (DRY_RUN, text("s.toml", "[" + ".".join(["a"] * 400_000) + "]")),
    "a key of 400,000 parts": (DRY_RUN, text("s.toml", "a = {" + ".".join(['"a"'] * 200_000) + " = 1}")),
    "a study of 70 MB": (DRY_RUN, text("s.toml", "#" * 70_000_000)),
    "a study of escapes": (DRY_RUN, text("s.toml", '[study]\n"a\\u001b[2J\\u202e" = 1\n')),
    "a step count of 10,000 digits": (DRY_RUN, text("s.toml", f"[study]\nsteps = {'9' * 10_000}\n")),
    "dates for numbers": (DRY_RUN, text("s.toml", "[study]\nsteps = 2020-01-01\n")),
    "a study in UTF-16": (DRY_RUN, text("s.toml", "[study]\n".encode("utf-16"))),
    "a billion points": (DRY_RUN, text("s.toml", "[study]\npoints = 1000000000\ndesign = 'grid'\n")),
    "a trainer in another folder": (DRY_RUN, text("s.toml", "[study]\ntrainer = '../evil:train'\n")),
    "arms of escapes": (["compare", "s.toml"], text("s.toml", '[arms."a\\u001b[2J"]\nx = 1\n')),
    # Trainers that cannot be imported
    "a trainer that exits": (["check-trainer", "bad1:train"], text("bad1.py", "import sys\nsys.exit(0)\n")),
    "a trainer of an error of 100,000 characters": (
        ["check-trainer", "bad2:train"],
        text("bad2.py", "raise ValueError('\\x1b]52;c;x\\x07\\n' + 'y' * 100_000)\n"),
    ),
    "a trainer with a zero byte": (["check-trainer", "bad3:train"], text("bad3.py", "x = 1\0\n")),
    "a deep trainer": (["check-trainer", "bad4:train"], text("bad4.py", "x = " + "(" * 5000 + ")" * 5000)),
    "a trainer whose module raises": (
        ["check-trainer", "bad5:train"],
        text("bad5.py", "def __getattr__(name):\n    raise RuntimeError('\\x1b[2J')\n"),
    ),
    # Rules
    "a deep rule": (["lr", "64", "--rule", "r.json"], text("r.json", DEEP)),
    "a rule of 5 MB": (["lr", "64", "--rule", "r.json"], text("r.json", " " * (5 << 20))),
    "a rule with a key twice": (["lr", "64", "--rule", "r.json"], text("r.json", '{"schema": 1, "schema": 2}')),
    # Arguments
    "a deep option": ([*DRY_RUN, "--option", f"a={DEEP}"], text("s.toml", "[study]\ntrainer = 'none:train'\n")),
    "a size of 400 digits": (["lr", "9" * 400], lambda folder: None),
    "a host of 100 characters": (
        ["worker", "--storage", f"postgresql://{'x' * 100}/db", "--study", "x"],
        lambda folder: None,
    ),
    "a host of 100,000 characters": (
        ["worker", "--storage", f"postgresql://{'1.' * 50_000}1/db", "--study", "x"],
        lambda folder: None,
    ),
    "a zero byte in a storage": (["worker", "--storage", "sqlite:///a\0b", "--study", "x"], lambda folder: None),
}  # fmt: skip
NAMES: dict[str, list[str]] = {
    "status": ["status", "{}"],
    "report": ["report", "{}"],
    "fit": ["fit", "{}"],
    "fit csv": ["fit", "{}.csv"],
    "rule": ["lr", "64", "--rule", "{}"],
    "search": ["search", "{}.toml"],
    "init": ["init", "{}"],
    "dashboard": ["dashboard", "{}"],
    "check": ["check", "{}", "--against", "x"],
    "compare": ["compare", "{}"],
    "export": ["export", "-o", "{}"],
}
CASES |= {f"{verb} of a name with a zero byte": ([word.format("a\0b") for word in words], lambda folder: None)
          for verb, words in NAMES.items()}  # fmt: skip
CASES |= {f"{verb} of a name of 5,000 characters": ([word.format("x" * 5000) for word in words], lambda folder: None)
          for verb, words in NAMES.items()}  # fmt: skip


def files(folder: Path) -> list[str]:
    """The names in a folder, without Python's own cache of the trainers in it."""
    return sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_input_is_answered_in_one_short_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words, make = CASES[name]
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    before = files(tmp_path)
    code = run_cli(words)
    out, err = capfd.readouterr()
    assert code in (0, 1, 2) and "unexpected" not in err and "Traceback" not in err
    errors = [line for line in err.splitlines() if line.startswith("lrtune: ")]
    assert len(errors) == (code != 0) and (not code or err.splitlines()[-1] in errors)
    assert len(out + err) < 10_000
    assert not {character for character in out + err if not (character.isprintable() or character == "\n")}
    assert code == 0 or files(tmp_path) == before


URLS = (
    "postgresql://me:{}@127.0.0.1:1/db",
    "postgresql://me:{} x@127.0.0.1:1/db",
    "postgresql://me:{}@x@127.0.0.1:1/db",
    "postgresql://me:{}/x?y#z@127.0.0.1:1/db",
    "postgresql://me:{}\n@127.0.0.1:1/db",
    "postgresql://:{}@127.0.0.1:port/db",
    "postgresql://me:{}@[::1/db",
    "postgresql://127.0.0.1:1/db?user=me&password={}",
    "postgresql://127.0.0.1:1/db?sslpassword={}&x=1",
    "POSTGRESQL://me:{}@127.0.0.1:1/db",
    "mysql://me:{}@127.0.0.1:1/db",
    "http://me:{}@127.0.0.1/x",
    "host=x password='{} y' user=z",
)


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize(
    "words",
    [["fit", "{}"], ["fit", "{}#study"], ["worker", "--storage", "{}", "--study", "x"]],
    ids=["fit", "fit a study", "worker"],
)
def test_no_form_of_a_url_shows_its_password(
    url: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lrtune.search.workers.study_row.FIRST_PATIENCE", 0.0)
    assert run_cli([word.replace("{}", url.format("hunter2")) for word in words]) in (1, 2)
    out, err = capfd.readouterr()
    assert "hunter2" not in out + err and len(err.splitlines()) == 1 and "unexpected" not in err


@pytest.mark.parametrize("line", ["[" + ".".join("a" * 200) + "]", ".".join('"a"' for _ in range(200)) + " = 1"])
def test_a_key_of_many_parts_is_refused_before_it_is_parsed(tmp_path: Path, line: str) -> None:
    (tmp_path / "s.toml").write_text(line)
    with pytest.raises(InputError, match="expected keys of at most 100 dotted parts"):
        load_study(tmp_path / "s.toml")
