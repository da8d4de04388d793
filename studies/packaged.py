"""Write the modules of the packaged rules from the rule files of their studies.

python studies/packaged.py
"""

from pathlib import Path

from lrtune.rule import Rule, load_rule
from lrtune.rule.export import as_code
from lrtune.rule.file import PACKAGED_RULES

STUDIES = {"packaged": "reference", "packaged:muon": "muon"}
_HEAD = '''"""{path} as code, written by studies/packaged.py; do not edit."""

from lrtune.rule.data import Boundary, CellDraws, Draws, KnobLaw, Polynomial, Rule, RuleCell, Scale, Step, Zero
from lrtune.rule.knob import Coordinate

'''


def module(path: str, rule: Rule) -> str:
    """The text of the module; a column of numbers on each line."""
    return _HEAD.format(path=path) + "RULE = " + as_code(rule).replace("), ", "),\n ") + "\n"


def main() -> None:
    root = Path(__file__).parents[1]
    for name, study in STUDIES.items():
        path = f"studies/{study}/rule.json"
        Path(PACKAGED_RULES[name]).write_text(module(path, load_rule(root / path)), encoding="utf-8")


if __name__ == "__main__":
    main()
