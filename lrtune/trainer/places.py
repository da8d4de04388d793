"""The placeholders of a command line and of its log's path: ``{learning_rate}``, ``{id}``."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from lrtune.errors import InputError
from lrtune.trainer.trial import Trial

PLACES = ("learning_rate", "hidden_size", "seed", "steps", "report_every", "device", "id", "output")
_PLACE = re.compile(r"\{\{([A-Za-z_]\w*)\}\}|(?<!\$)\{([A-Za-z_]\w*)\}")


def fill(words: Iterable[str], trial: Trial, output: Path) -> list[str]:
    """The words with the trial's values in place of the names in braces.

    ``{{name}}`` becomes ``{name}``; ``${name}`` stays for a shell.

    Raises:
        InputError: a name is unknown.
    """
    values: dict[str, Any] = {
        **{name: value if isinstance(value, str) else json.dumps(value) for name, value in trial.options.items()},
        **{name: f"{value:.15g}" for name, value in trial.scales.items()},
        **{name: repr(value) for name, value in trial.knobs.items()},
        "learning_rate": repr(trial.learning_rate),
        "hidden_size": trial.hidden_size,
        "seed": trial.seed,
        "steps": trial.steps,
        "report_every": trial.report_every,
        "device": trial.device,
        "id": trial.id,
        "output": output,
    }
    return [_replaced(word, lambda name: str(_known(name, values))) for word in words]


def check_places(words: Iterable[str], names: Iterable[str]) -> None:
    """Check that each placeholder is one of `PLACES` or of `names`, the study's scales, knobs and options.

    Raises:
        InputError: a name is unknown.
    """
    known = dict.fromkeys((*PLACES, *names))
    for word in words:
        _replaced(word, lambda name: str(_known(name, known)))


def places(word: str) -> set[str]:
    """The names of the placeholders in a word."""
    return {found[1] for found in _PLACE.findall(word)} - {""}


def _known(name: str, values: Mapping[str, Any]) -> Any:
    if name not in values:
        listed = " ".join(f"{{{each}}}" for each in values)
        raise InputError(
            f"command: unknown placeholder {{{name}}}; known: {listed}; write {{{{{name}}}}} for a literal {{{name}}}"
        )
    return values[name]


def _replaced(word: str, value: Callable[[str], str]) -> str:
    return _PLACE.sub(lambda found: f"{{{found[1]}}}" if found[1] else value(found[2]), word)
