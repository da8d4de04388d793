"""Find and read the rule file.

`os.path` imports faster than pathlib (see `lrtune.rule.data`).
"""

import os

from lrtune.errors import InputError, NoActiveRuleError
from lrtune.rule.data import Rule

RULE_NAME = "lrtune-rule.json"
ENVIRONMENT = "LRTUNE_RULE"
_HERE = os.path.dirname(os.path.abspath(__file__))
PACKAGED = os.path.join(_HERE, "packaged_rule.py")
# The rules that come with lrtune, by the names that ask for them wherever a rule file is named. As modules they need no
# parsing, which takes half of the time to an answer; `python studies/packaged.py` writes them.
PACKAGED_RULES = {"packaged": PACKAGED, "packaged:muon": os.path.join(_HERE, "packaged_muon.py")}
_MAX_BYTES = 4 * 2**20


def load_rule(path: "str | os.PathLike[str] | None" = None) -> Rule:
    """Read a rule: a file, a run folder, a name of `PACKAGED_RULES`, or without a path the one that `find_rule` finds.

    Raises:
        InputError: the file is missing or not a rule; one line with the file, the field and the remedy.
        NoActiveRuleError: the file says that a search or fit found no rule.
    """
    name = _file_named(path) if path is not None else find_rule()[0]
    if name in PACKAGED_RULES.values():
        module = os.path.basename(name).removesuffix(".py")
        rule: Rule = __import__(f"lrtune.rule.{module}", fromlist=["RULE"]).RULE
        return rule._replace(source=name)
    from lrtune.files import read_bytes
    from lrtune.rule.parse import parse_rule

    try:
        data = read_bytes(name, most=_MAX_BYTES)
    except OSError as error:
        if path is not None and os.path.isdir(path) and isinstance(error, FileNotFoundError):
            fits = os.path.isfile(os.path.join(path, "records.jsonl"))
            more = "; `lrtune fit` of its runs says why it has none" if fits else ""
            expected = f"expected a rule file, or a run folder with a rule.json{more}"
            raise InputError(f"{os.fspath(path)}: {expected}") from error
        raise InputError(f"{name}: cannot read the rule: {error.strerror}") from error
    try:
        return parse_rule(data, source=name)
    except InputError as error:
        raise InputError(f"{name}: {error}; `lrtune fit RUNS -o FILE` writes one") from None
    except NoActiveRuleError as error:
        raise NoActiveRuleError(f"{name}: {error}; name another rule with --rule") from None


def _file_named(path: "str | os.PathLike[str]") -> str:
    """The file behind a name: that of a run folder is its rule.json."""
    name = os.fspath(path)
    if name in PACKAGED_RULES:
        return PACKAGED_RULES[name]
    if name.startswith("packaged:"):
        raise InputError(f"rule: expected {' or '.join(PACKAGED_RULES)}, but got {name!r:.60}")
    return os.path.join(name, "rule.json") if os.path.isdir(name) else name


def find_rule(start: str | None = None) -> tuple[str, str]:
    """The default rule file, and how it was found.

    ``$LRTUNE_RULE``; else the project's (`project_rule`); else the packaged rule, which is not of your model.

    Raises:
        InputError: ``$LRTUNE_RULE`` names no file.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        file = _file_named(named)
        if not os.path.isfile(file):
            raise InputError(f"${ENVIRONMENT}: no rule file at {named}; correct or unset the variable")
        return file, f"${ENVIRONMENT}"
    found = project_rule(start)
    return (found, "project") if found is not None else (PACKAGED, "packaged")


def project_rule(start: str | None = None) -> str | None:
    """The nearest ``lrtune-rule.json``, or None.

    It lies in the working folder (or `start`) or a parent up to the project's root, the folder with ``.git`` or
    ``pyproject.toml``; outside of a project, in the working folder alone. A file of another user, or in another user's
    folder, is ignored.
    """
    folder = here = os.path.abspath(start or os.getcwd())
    found = []
    while True:
        candidate = os.path.join(folder, RULE_NAME)
        if os.path.isfile(candidate) and _is_trusted(candidate) and _is_trusted(folder):
            found.append(candidate)
        if any(os.path.exists(os.path.join(folder, mark)) for mark in (".git", "pyproject.toml")):
            return found[0] if found else None
        parent = os.path.dirname(folder)
        if parent == folder:
            return next((file for file in found if os.path.dirname(file) == here), None)
        folder = parent


def _is_trusted(path: str) -> bool:
    """Whether this user or root owns it."""
    return os.stat(path).st_uid in (0, os.geteuid())
