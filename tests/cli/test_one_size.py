"""A search at one size, such as fine-tuning: a range that covers it, and no word of a law over sizes."""

import contextlib
import io
from pathlib import Path

import pytest

from lrtune.cli import run as run_cli
from lrtune.search.call import settle
from lrtune.study.study import Study

pytestmark = pytest.mark.slow
SEARCH = "search --trainer analytic:train --widths 64 --steps 40 --report-every 10 --engine inline --out runs/one"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a search at one size; what it said is in said.txt."""
    folder = tmp_path_factory.mktemp("one")
    (folder / "pyproject.toml").touch()
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        patch.chdir(folder)
        assert run_cli(SEARCH.split()) == 0
    (folder / "said.txt").write_text(said.getvalue())
    return folder


@pytest.mark.parametrize("line", ["", "lr 64", "lr 128", "lr 64 128", "fit runs/one", "status runs/one"])
def test_nothing_speaks_of_a_law_over_sizes(
    line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    said = Path("said.txt").read_text()
    if line:
        assert run_cli(line.split()) == 0
        said = "".join(capsys.readouterr())
    assert [words for words in ("exponent", "another size", "64 … 64", "64 to 64", "lr ≈") if words in said] == []
    assert "lr_min" in said and "1e-05" in said if not line else "64" in said
    assert ("next:" in said) == (line in ("", "fit runs/one"))
    assert "lrtune lr 128" not in said.partition("next:")[2]


def test_the_report_speaks_of_no_law(folder: Path) -> None:
    page = (folder / "runs/one/report.html").read_text()
    assert "One hidden_size was measured, 64: no law over it" in page


def test_a_range_that_is_given_and_several_sizes_keep_theirs() -> None:
    assert settle("own:train", {"widths": (64,)})[0].lr_min == 1e-5
    assert settle("own:train", {"widths": (64,), "lr_min": 1e-4})[0].lr_max == Study().lr_max
    assert settle("own:train", {"widths": (64, 128)})[0].lr_min == Study().lr_min
