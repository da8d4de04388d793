"""Every command and every piece of code in the README runs, in order, in one folder, with a small budget."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", README, re.S)
COMMANDS = [line for kind, block in BLOCKS if kind == "sh" for line in block.splitlines()]
LRTUNE = [line for line in COMMANDS if line.startswith("lrtune ")]
CODE = [block for kind, block in BLOCKS if kind == "python"]

# Small enough for a test; a flag in the README still wins over these.
SMALL = {
    "LRTUNE_STEPS": "8",
    "LRTUNE_REPORT_EVERY": "4",
    "LRTUNE_ENGINE": "inline",
    "LRTUNE_DESIGN": "grid",
    "LRTUNE_POINTS": "2",
    "OMP_NUM_THREADS": "1",
}
# Two searches train the bundled model on real text; the others train the README's own mine.py.
REAL = {
    "LRTUNE_WIDTHS": "48",
    "LRTUNE_TRIALS": "2",
    "LRTUNE_OPTION": "vocabulary=512 context=32 batch=4 depth=1 final_tokens=2048",
}
QUICK = {"LRTUNE_TRIALS": "6", "LRTUNE_TRAINER": "mine:train"}

ARMS = """
[study]
name = "arms"
steps = 8
[options]
vocabulary = 512
[arms.decoupled]
hidden_size = 48
learning_rate = 0.02
[arms.coupled]
hidden_size = 48
learning_rate = 0.02
optimizer = "adam-l2"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader would have: the examples, a sweep, some texts, a study with arms, and mine.py from the README."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
    runs = [(width, rate) for width in (64, 128, 256) for rate in (1e-3, 3e-3, 1e-2, 3e-2)]
    rows = [f"{width},{rate},{3 + abs(rate * width - 0.6)}" for width, rate in runs]
    (folder / "sweep.csv").write_text("d_model,lr,val_loss\n" + "\n".join(rows) + "\n")
    (folder / "arms.toml").write_text(ARMS)
    (folder / "my-texts").mkdir()
    for number, source in enumerate(("tempfile", "subprocess", "argparse")):
        text = Path(sys.modules[source].__file__ or "" if source in sys.modules else shutil.__file__).read_text()
        (folder / "my-texts" / f"{number}.txt").write_text(text)
    (mine,) = [block for block in CODE if block.startswith("# mine.py")]
    (folder / "mine.py").write_text(mine)
    return folder


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """One command as it stands, `lrtune` being this tree's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LRTUNE_", "RAY_"))}
    # Any database will do where the README names one on another machine.
    line = line.replace("postgresql://me@db/lrtune", f"sqlite:///{folder / 'shared.db'}")
    words = [re.sub(r"^python (?=[\w/]+\.py )", f"{shlex.quote(sys.executable)} ", word) for word in shlex.split(line)]
    is_real = line == "lrtune search" or "--dataset" in line
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=folder,
        env={**environment, **SMALL, **(REAL if is_real else QUICK), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=400,
    )


@pytest.mark.timeout(1500)
def test_every_command_runs_in_order(folder: Path) -> None:
    runnable = [line for line in LRTUNE if "--engine ray" not in line]
    assert len(runnable) > 20
    for line in runnable:
        done = run(line, folder)
        # A rate that a few steps of training cannot confirm is what `verify` says by its exit code.
        allowed = (0, 1) if line.startswith("lrtune verify") else (0,)
        assert done.returncode in allowed, f"{line}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert float(run("lrtune lr 64 --plain", folder).stdout) > 0
    for made in ("runs/quick/figures/loss.svg", "runs/quick/report.html", "learning_rate.py", "runs/arms/compare.md"):
        assert (folder / made).exists(), made


@pytest.mark.server
@pytest.mark.timeout(600)
def test_the_ray_command_runs(folder: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    (line,) = [line for line in LRTUNE if "--engine ray" in line]
    if not (folder / "study.toml").exists():
        assert run("lrtune init", folder).returncode == 0
    done = run(line, folder)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("code", [block for block in CODE if not block.startswith("# mine.py")])
def test_every_piece_of_code_runs(code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_the_other_commands_name_what_is_there() -> None:
    others = [line for line in COMMANDS if line not in LRTUNE]
    makefile = (ROOT / "Makefile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for line in others:
        words = shlex.split(line)
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.M), line
        else:
            assert words[:4] == ["pip", "install", "-c", "constraints.txt"], line
            assert set(words[4].removeprefix(".[").removesuffix("]").split(",")) <= set(extras), line


def test_links_and_pictures_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
