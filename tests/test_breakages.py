"""The breakages of `breakages.py` fit the code as it stands, so that the script can be run at any time."""

import pytest
from breakages import BREAKAGES, ROOT, Breakage


@pytest.mark.parametrize("breakage", BREAKAGES, ids=[breakage.name for breakage in BREAKAGES])
def test_a_breakage_can_still_be_applied(breakage: Breakage) -> None:
    assert (ROOT / breakage.file).read_text(encoding="utf-8").count(breakage.old) == 1
    assert all((ROOT / "tests" / name).exists() for name in breakage.tests)
