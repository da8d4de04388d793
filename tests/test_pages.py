"""Every command and every piece of code in README.md and docs/ runs, page by page and in order, with fewer steps."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import forked
import pytest

ROOT = Path(__file__).parent.parent
GENERATED = ("flags.md", "python.md")
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name not in GENERATED)]
README = PAGES[0].read_text(encoding="utf-8")
Blocks = list[tuple[str, str]]

# Small enough for a test; a flag of the page still wins over these.
SMALL = {
    "LRTUNE_STEPS": "8",
    "LRTUNE_REPORT_EVERY": "8",
    "LRTUNE_ENGINE": "inline",
    "LRTUNE_DESIGN": "grid",
    "LRTUNE_POINTS": "2",
    "LRTUNE_TRIALS": "6",
    "OMP_NUM_THREADS": "1",
}
# A search without a trainer trains the bundled model once; later ones train the README's own mine.py.
REAL = {
    "LRTUNE_WIDTHS": "48",
    "LRTUNE_TRIALS": "2",
    "LRTUNE_OPTION": "vocabulary=512 context=32 batch=4 depth=1 final_tokens=2048",
}
QUICK = {"LRTUNE_TRAINER": "mine:train", "LRTUNE_LR_MIN": "1e-4", "LRTUNE_LR_MAX": "1e-2"}


def blocks(page: Path) -> Blocks:
    return re.findall(r"```(sh|python|sbatch)\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def commands(page: Path) -> list[str]:
    return [line for kind, block in blocks(page) if kind == "sh" for line in block.splitlines()]


def mine() -> str:
    """The README's trainer."""
    (code,) = [block for _, block in blocks(PAGES[0]) if block.startswith("# mine.py")]
    return code


def run(words: list[str], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LRTUNE_", "RAY_"))}
    return forked.python(words, folder, {**kept, "PYTHONPATH": f"{ROOT}:{folder}", **SMALL, **more})


def run_line(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One command of a page, a twentieth as long."""
    # Any database will do where the page names one on another machine.
    line = line.replace("postgresql://me@db/lrtune", f"sqlite:///{folder / 'shared.db'}")
    line = re.sub(r"--steps ([\d,]+)", lambda found: f"--steps {_twentieth(found.group(1))}", line)
    if line.startswith("python "):
        return run(shlex.split(line)[1:], folder)
    words = [re.sub(r"^python (?=[\w/]+\.py )", f"{shlex.quote(sys.executable)} ", word) for word in shlex.split(line)]
    own = {"LRTUNE_DESIGN": "scale-aware"} if "--knob" in line else {}  # a grid has no knobs
    more = REAL if line == "lrtune search" else QUICK | ({"LRTUNE_TRIALS": "9"} if "--target" in line else {})
    if line.startswith("lrtune verify"):
        more = {}  # the trainer and its settings are the rule's
    if "--engine ray" in line or "torchrun" in line:  # tests/faults has searches on Ray, test_api a run by torchrun
        words.append("--dry-run")
    return run(["-m", *words], folder, **more, **own)


def _twentieth(steps: str) -> str:
    return ",".join(str(max(2, int(number) // 20)) for number in steps.split(","))


def needs(page: Path) -> None:
    """Skip a page whose libraries are not installed."""
    text = page.read_text(encoding="utf-8")
    for word, module in (
        ("examples.", "torch"),
        ("digits", "sklearn"),
        ("gpt2", "transformers"),
        ("omegaconf", "omegaconf"),
        ("format yaml", "yaml"),
        ("lrtune report", "altair"),
    ):
        if word in text:
            pytest.importorskip(module, reason=f"{module} is not installed")


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name if page.parent == ROOT else f"docs/{page.name}")
def test_a_page_runs_as_typed(page: Path, tmp_path: Path) -> None:
    needs(page)
    for part in ("examples", "studies/phase4"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__", "*.jsonl"))
    (tmp_path / "mine.py").write_text(mine())
    tuned = tmp_path / "examples" / "finetune.py"
    tuned.write_text(tuned.read_text().replace("BASE_STEPS = 300", "BASE_STEPS = 3"))
    for kind, block in blocks(page):
        if kind == "python" and not block.startswith("# mine.py"):
            block = re.sub(r"(run_search\(.*)steps=\d+(.*)\)$", r'\1steps=2\2, engine="inline")', block, flags=re.M)
            done = run(["-c", block], tmp_path)
            assert done.returncode == 0, f"{block}\n{done.stderr[-2000:]}"
        for line in block.splitlines() if kind == "sh" else ():
            if not line.startswith(("lrtune ", "python ")):
                continue
            done = run_line(line, tmp_path)
            # A rate that a few steps of training cannot confirm is what `verify` says by its exit code.
            allowed = (0, 1) if line.startswith("lrtune verify") else (0,)
            assert done.returncode in allowed, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def test_the_other_commands_name_what_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    others = [line for page in PAGES for line in commands(page) if not line.startswith(("lrtune ", "python "))]
    assert others
    for line in others:
        words = shlex.split(line)
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.M), line
        else:
            assert words[:4] == ["pip", "install", "-c", "constraints.txt"], line
            assert set(words[4].removeprefix(".[").removesuffix("]").split(",")) <= set(extras), line


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / "docs" / name for name in GENERATED)], ids=lambda page: page.name)
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_every_page_is_listed() -> None:
    listed = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in listed, page.name


@pytest.mark.parametrize("name", GENERATED)
def test_a_page_made_from_the_code_is_current(name: str) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "docs" / "make.py")
    assert spec is not None and spec.loader is not None
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    write: Callable[[], str] = make.PAGES[name]
    is_current = (ROOT / "docs" / name).read_text(encoding="utf-8") == write()
    assert is_current, "run python docs/make.py"
