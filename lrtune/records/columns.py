"""The meaning of a table's columns: given by the user, else guessed from the name and reported."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from lrtune.errors import InputError, plain
from lrtune.fields import unknown_key
from lrtune.records.table import Table
from lrtune.rule.knob import Coordinate
from lrtune.study.knob import AS_IT_IS, check_knobs

# Common names, best first. Names on one line are synonyms; a guess needs exactly one column of the first matching line.
_RATES = [
    "lr learning_rate learningrate",
    "peak_lr max_lr peak_learning_rate max_learning_rate lr_peak lr_max",
    "base_lr init_lr initial_lr initial_learning_rate",
    "log10_lr log2_lr ln_lr",
]
_LOSSES = [
    "val_loss valid_loss validation_loss eval_loss dev_loss loss_val final_val_loss val_loss_final",
    "loss",
    "test_loss",
    "final_loss",
    "value",
    "train_loss training_loss",
]
_SIZES = [
    "hidden_size",
    "d_model dmodel n_embd n_embed width hidden_dim model_dim embed_dim embedding_dim emb_dim d_hidden n_hidden hidden "
    "hidden_units model_width dim",
]
_SEEDS = ("seed", "random_seed", "rng_seed")
_WRAPPED = re.compile(
    r"^(?:params?|configs?|metrics?|hparams?|hyperparameters|summary|user_attrs|train_loop_config|args)[._/](?=.)"
)
# Groups of run settings. A metric with the same name holds the scheduled value instead.
_ASKED = re.compile(r"(?:params?|configs?|hparams?|hyperparameters|train_loop_config|args)[._/]")
_GAINS = frozenset(["acc", "accuracy", "auc", "bleu", "f1", "rouge", "reward", "score", "top1"])
# Scales that ``--scale NAME`` accepts without a column; any other bare name is the column of the hidden size.
_SCALES = ("hidden_size", "tokens", "steps", "parameters", "batch", "depth", "context")
# Columns that affect the best rate, and their names in a rule; imported even if the user does not name them.
_CONDITIONS = {
    **dict.fromkeys(("depth", "layers", "num_layers", "n_layers", "n_layer", "num_hidden_layers"), "depth"),
    **dict.fromkeys(("batch", "batch_size", "train_batch_size", "global_batch_size", "bs"), "batch"),
    **dict.fromkeys(("context", "context_length", "seq_len", "sequence_length", "seq_length"), "context"),
}


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns that the user named.

    Attributes:
        learning_rate, loss: column names; None to guess them. In an Optuna study the rate is a parameter, and the
            loss is the study's value or a user attribute.
        scales: scale name → column; None for a guessed hidden size alone.
        seed: column of the seed (numbers or names); without one, every run counts as a separate seed.
        knobs: other quantities that were varied: name → column of its values, with ``*learning_rate`` or
            ``/learning_rate`` after it if the law is one of a ratio or of a product.
        minimize_over: further swept columns; only their best value at each rate counts.
        maximize: higher is better; the measure is negated. Implied for an Optuna study that maximises.
        failed_when: condition (see `lrtune.records.condition`) for rows that count as diverged.
        drop_when: condition for rows to ignore.
    """

    learning_rate: str | None = None
    loss: str | None = None
    scales: Mapping[str, str] | None = None
    seed: str | None = None
    knobs: Mapping[str, str] | None = None
    minimize_over: tuple[str, ...] = ()
    maximize: bool = False
    failed_when: str | None = None
    drop_when: str | None = None

    def flags(self) -> list[str]:
        """The command-line flags that the user gave."""
        given = {
            "--lr": self.learning_rate,
            "--loss": self.loss,
            "--scale": self.scales,
            "--seed": self.seed,
            "--knob": self.knobs,
            "--minimize-over": self.minimize_over,
            "--maximize": self.maximize,
            "--failed-when": self.failed_when,
            "--drop-when": self.drop_when,
        }
        return [flag for flag, value in given.items() if value]


@dataclass(frozen=True, kw_only=True)
class Found:
    """The columns of one table by meaning; `notes` reports the guesses, `coordinates` are those of the knobs."""

    learning_rate: str
    loss: str
    scales: Mapping[str, str]
    seed: str | None
    knobs: Mapping[str, str]
    coordinates: Mapping[str, Coordinate]
    minimize_over: tuple[str, ...]
    conditions: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def used(self) -> set[str]:
        """Columns with an assigned meaning."""
        swept = {*self.scales.values(), *self.knobs.values(), *self.minimize_over}
        return {self.learning_rate, self.loss, self.seed or self.loss, *swept}


def parse_scale_columns(given: Sequence[str]) -> dict[str, str]:
    """Parse ``NAME=COLUMN`` items. A bare item names both scale and column, or the column of the hidden size.

    Raises:
        InputError: an item is empty or repeats a scale.
    """
    scales: dict[str, str] = {}
    for text in given:
        name, equals, column = (part.strip() for part in text.partition("="))
        if not equals:
            name, column = (name if name in _SCALES else "hidden_size"), name
        if not (name and column):
            raise InputError(f"--scale: expected NAME=COLUMN or COLUMN, but got {text!r:.60}")
        if name in scales:
            raise InputError(f"--scale: expected {name} once, but got columns {scales[name]!r:.60} and {column!r:.60}")
        scales[name] = column
    return scales


def find_columns(table: Table, columns: Columns) -> Found:
    """Find the columns of one table.

    Raises:
        InputError: a column is missing (the nearest name is suggested), ambiguous or cannot be guessed.
    """
    if columns.scales is not None and not columns.scales:
        raise InputError("--scale: expected at least one NAME=COLUMN such as hidden_size=width, but got none")
    notes: list[str] = []
    value = next(iter(table.objectives)) if len(table.objectives) == 1 else None
    wanted = columns.loss if columns.loss in table.names or columns.loss != "loss" else value or columns.loss
    rate = _column(table, "--lr", columns.learning_rate, _RATES, notes)
    loss = _column(table, "--loss", wanted, [*_LOSSES[:2], value, *_LOSSES[2:]] if value else _LOSSES, notes)
    scales = {"hidden_size": None} if columns.scales is None else columns.scales
    knobs = {n: _knob_column(table, c, columns.knobs or {}, notes) for n, c in (columns.knobs or {}).items()}
    check_knobs({n: each for n, (_, each) in knobs.items()}, {*scales, "learning_rate", "hidden_size", "seed"})
    found = Found(
        learning_rate=rate,
        loss=loss,
        scales={n: _column(table, f"--scale {n}", c, _SIZES, notes) for n, c in scales.items()},
        seed=_column(table, "--seed", columns.seed, [], notes) if columns.seed else None,
        minimize_over=tuple(_column(table, "--minimize-over", column, [], notes) for column in columns.minimize_over),
        knobs={n: column for n, (column, _) in knobs.items()},
        coordinates={n: each for n, (_, each) in knobs.items()},
        conditions={},
        notes=(),
    )
    return replace(found, conditions=_conditions(table, found), notes=tuple(notes))


def is_rate(name: str) -> bool:
    """Whether a column has a usual name of a learning rate."""
    return _is_one_of(name.replace("/", "."), _words(_RATES), last=True)


def is_size(name: str) -> bool:
    """Whether a column has a usual name of a hidden size."""
    return _is_one_of(name.replace("/", "."), _words(_SIZES), last=True)


def is_gain(name: str) -> bool:
    """Whether a column has a usual name of a measure of which more is better: ``val/acc``."""
    return not _GAINS.isdisjoint(_plain(name).split("_")) and not re.search("loss|err", name.lower())


def seed_column(table: Table, found: Found) -> str | None:
    """The column that distinguishes repeats of a setting: the user's, else one with a usual name of a seed."""
    return found.seed or next((name for name in table.names if _plain(name) in _SEEDS and name not in found.used), None)


def _column(table: Table, flag: str, name: str | None, guesses: Sequence[str], notes: list[str]) -> str:
    if name is not None:
        column = name if name in table.names else _wrapped(table, flag, name)
    else:
        column = _guess(table, flag, guesses)
    if column in table.twice:
        raise InputError(
            f"{table.source}: {flag}: two columns are named {column!r:.60} and differ; rename one of them in the header"
        )
    if column not in (name, "lr", "loss", "hidden_size"):
        notes.append(f"{flag}: took column {column!r:.60}")
    return column


def _knob_column(table: Table, text: str, knobs: Collection[str], notes: list[str]) -> tuple[str, Coordinate]:
    """The column of a knob's values, and its coordinate: ``COL``, ``COL*learning_rate`` or ``COL/learning_rate``."""
    form = re.fullmatch(r"(.+?)\s*([*/])\s*(\w+)", text)
    if text in table.names or form is None or form[3] not in {"learning_rate", *knobs}:
        return _column(table, "--knob", text, [], notes), AS_IT_IS
    coordinate = Coordinate(times=form[3]) if form[2] == "*" else Coordinate(over=form[3])
    return _column(table, "--knob", form[1], [], notes), coordinate


def _wrapped(table: Table, flag: str, name: str) -> str:
    """The only column called `name` in any group: ``params.lr`` for lr."""
    found = [column for column in table.names if name in (_WRAPPED.sub("", column), column.rpartition(".")[2])]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{table.source}: {flag}: {name!r:.60} may be {_listed(found)}; give the full name")
    raise InputError(unknown_key(f"{table.source}: {flag}", name, table.names, "column"))


def _guess(table: Table, flag: str, guesses: Sequence[str]) -> str:
    for line in guesses:
        found = [column for column in table.names if _is_one_of(column, line.split(), last="--loss" not in flag)]
        asked = [column for column in found if _ASKED.match(column.lower())]
        if len(found) == 1 or len(asked) == 1:
            return (asked or found)[0]
        if found:
            raise InputError(f"{table.source}: {flag}: cannot guess the column: it may be {_listed(found)}")
    raise InputError(
        f"{table.source}: {flag}: cannot guess the column: none is named {_listed(_words(guesses), 6)}; "
        f"its columns are {_listed(table.names)}"
    )


def _is_one_of(column: str, words: Iterable[str], *, last: bool) -> bool:
    return _plain(column) in words or (last and _plain(column.rpartition(".")[2]) in words)


def _plain(name: str) -> str:
    """A name without its group, in lower snake case: ``metrics.val/Loss`` → val_loss."""
    while _WRAPPED.match(name.lower()):
        name = name[len(_WRAPPED.match(name.lower())[0]) :]  # type: ignore[index]
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _words(lines: Iterable[str]) -> list[str]:
    return [word for line in lines for word in line.split()]


def _listed(names: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(f"{plain(name):.40}" for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _conditions(table: Table, found: Found) -> dict[str, str]:
    """Columns of `_CONDITIONS` without another meaning, and the names of their conditions."""
    return {
        name: condition
        for name in table.names
        if (condition := _CONDITIONS.get(_plain(name))) and name not in found.used and condition not in found.scales
    }
