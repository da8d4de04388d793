"""Fit a rule to an existing sweep in one call."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lrtune.errors import redact
from lrtune.law.fit import fit_law
from lrtune.records.columns import Columns
from lrtune.records.importers import read_sources
from lrtune.rule.data import Rule


def fit(
    *sources: Any,
    lr: str | None = None,
    loss: str | None = None,
    seed: str | None = None,
    knobs: Mapping[str, str] | None = None,
    minimize_over: Sequence[str] = (),
    maximize: bool = False,
    failed_when: str | None = None,
    drop_when: str | None = None,
    tolerance: float = 0.01,
    level: float = 0.9,
    **scales: str,
) -> Rule:
    """The rule of the best learning rate over the sizes of a sweep.

    >>> import lrtune
    >>> runs = [
    ...     {"d_model": width, "lr": 0.001 * 2.0**k, "val": 3 + 0.1 * (k - shift) ** 2}
    ...     for width, shift in ((64, 3.2), (128, 2.2), (256, 1.2))
    ...     for k in range(5)
    ... ]
    >>> rule = lrtune.fit(runs, lr="lr", loss="val", hidden_size="d_model")
    >>> bool(0.0035 < lrtune.get_learning_rate(128, rule=rule) < 0.006)
    True

    Args:
        sources: DataFrames (pandas, polars, Arrow), lists of mappings, paths of tables and folders, storage URLs.
        lr, loss: columns of the learning rate and the loss; default: guessed from the column names.
        seed: column of the seed.
        knobs: another quantity that was varied, with its column: ``{"adam_lr": "alr"}``; ``"alr*learning_rate"`` if its
            law is one of the ratio to the rate, ``"wd/learning_rate"`` of the product with it.
        minimize_over: further swept columns; at each rate the best value counts.
        maximize: higher is better.
        failed_when, drop_when: conditions such as ``"loss > 5 or state == 'failed'"`` for diverged runs and for
            rows to ignore.
        tolerance: relative loss that the safe range may cost.
        level: probability that an interval holds the best rate.
        scales: column by scale: ``hidden_size="d_model"``, ``tokens="D"``; default: a guess of the hidden size.

    Raises:
        InputError: a source is unreadable, or most of its rows are unusable.
        NoRuleError: there is nothing to fit.

    Warns:
        UserWarning: more than a tenth of the rows are unusable.
    """
    columns = Columns(
        learning_rate=lr,
        loss=loss,
        scales=scales or None,
        seed=seed,
        knobs=knobs,
        minimize_over=tuple(minimize_over),
        maximize=maximize,
        failed_when=failed_when,
        drop_when=drop_when,
    )
    imported = read_sources(sources, columns)
    for line in imported.warnings:
        warnings.warn(line, stacklevel=2)
    origin = ", ".join(
        redact(source) if isinstance(source, str | Path) else type(source).__name__ for source in sources
    )
    return fit_law(
        imported.records,
        scales=imported.scales,
        knobs=imported.knobs,
        tolerance=tolerance,
        level=level,
        provenance={"fitted to": origin},
    ).rule
