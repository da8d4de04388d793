"""Commands as processes: what they load, and what becomes of their streams."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, Ran

pytestmark = pytest.mark.slow


def lrtune(*arguments: str, folder: Path, **environment: str) -> Ran:
    """A command as a process of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("LRTUNE_")}
    done = subprocess.run(
        [sys.executable, "-m", "lrtune", *arguments],
        cwd=folder,
        env={**clean, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def shell(line: str, folder: Path) -> Ran:
    """A line for a shell, in which `lrtune` is this one."""
    done = subprocess.run(
        line.replace("lrtune", f"{sys.executable} -m lrtune", 1),
        shell=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return Ran(done.returncode, done.stdout, done.stderr)


def test_the_plain_answer_is_the_same_by_the_short_way_and_the_long(tmp_path: Path) -> None:
    short = lrtune("lr", "128", "--plain", folder=tmp_path)
    rule = ROOT / "studies" / "reference"
    long = lrtune("lr", "128", "--plain", f"--rule={rule}", folder=tmp_path)
    assert short.code == long.code == 0
    assert lrtune("lr", "128", "--rule", str(rule), "--plain", folder=tmp_path) == long
    assert short.out == lrtune("lr", "--plain", "128", folder=tmp_path).out
    assert float(short.out) == pytest.approx(float(long.out))


def test_an_encoding_that_lacks_a_character_is_not_an_error(tmp_path: Path) -> None:
    for words in (["lr", "256"], ["lr", "256", "--compare"], ["--help"]):
        done = lrtune(*words, folder=tmp_path, PYTHONIOENCODING="ascii")
        assert done.code == 0, done.err
        assert "256" in done.out or "Usage" in done.out


@pytest.mark.parametrize(("words", "also"), [(["lr", "256", "--json"], {"rich"}), (["--help"], {"lrtune.cli.lr"})])
def test_lr_and_help_load_nothing_heavy(words: list[str], also: set[str], tmp_path: Path) -> None:
    code = (
        f"import sys; sys.argv = ['lrtune', *{words}]\n"
        "from lrtune.__main__ import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        f"heavy = {{'torch', 'optuna', 'numpy', 'scipy', 'altair', 'datasets', *{also}}} & set(sys.modules)\n"
        "heavy |= {'lrtune.cli.search', 'lrtune.study', 'lrtune.records', 'lrtune.trainer'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_is_colourless_in_a_pipe_and_under_no_color(tmp_path: Path) -> None:
    assert "\x1b" not in lrtune("--help", folder=tmp_path).out
    assert "\x1b[3" not in lrtune("--help", folder=tmp_path, NO_COLOR="1", FORCE_COLOR="1").out


def test_a_reader_that_closes_its_end_is_not_an_error(tmp_path: Path) -> None:
    done = shell("lrtune lr 256 --rule packaged --compare | head -1", tmp_path)
    assert done.out.count("\n") == 1 and " at hidden 256 " in done.out and done.err == ""


def test_a_fit_whose_output_is_closed_writes_its_rule(tmp_path: Path) -> None:
    rows = [f"{w},{0.3 / w * 2.0**x},{3 + 0.1 * x**2}" for w in (32, 64) for x in (-1, 0, 1)]
    (tmp_path / "sweep.csv").write_text("\n".join(["width,lr,loss", *rows, ""]))
    shell("lrtune fit sweep.csv --scale width -o mine.json >&-", tmp_path)
    shell("(lrtune fit sweep.csv --scale width -o piped.json; true) | true", tmp_path)
    assert (tmp_path / "mine.json").is_file() and (tmp_path / "piped.json").is_file()


@pytest.mark.parametrize(("closed", "code"), [("lr 256 >&-", 0), ("lr 0 2>&-", 2), ("lr 256 --plain >&- 2>&-", 0)])
def test_without_stdout_or_stderr_the_exit_code_is_the_same(tmp_path: Path, closed: str, code: int) -> None:
    assert shell(f"lrtune {closed}", tmp_path).code == code


def test_a_search_whose_output_is_closed_finishes(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests" / "analytic.py", tmp_path / "mine.py")
    flags = "--trainer mine:train --widths 32 --steps 20 --trials 2 --workers 1"
    done = shell(f"lrtune search {flags} 2>&1 | head -1", tmp_path)
    assert done.out.startswith("trying the trainer once") and done.err == ""
    assert {"rule.json", "report.html"} <= {path.name for path in (tmp_path / "runs" / "own").iterdir()}


@pytest.mark.parametrize(
    ("verb", "given", "threads"),
    [("status", None, "1"), ("status", "3", "3"), ("check-trainer", None, None), ("worker", None, None)],
)
def test_a_verb_that_trains_nothing_itself_keeps_to_one_thread(
    verb: str, given: str | None, threads: str | None
) -> None:
    code = f"""
import os, sys
from lrtune.cli import run
assert "numpy" not in sys.modules  # which reads the variable as it is loaded
run([{verb!r}, "no such thing"])
print(os.environ.get("OPENBLAS_NUM_THREADS"))
"""
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({"OPENBLAS_NUM_THREADS": given} if given else {})
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == str(threads), done.stderr
