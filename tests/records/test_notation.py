"""How numbers are written: what each cell of a column means, or that it can mean two things."""

import math
from decimal import Decimal

import numpy
import pytest

from lrtune.errors import InputError
from lrtune.records.notation import Kind, number, readers
from lrtune.records.table import Row, table_of


def meant(column: list[object], kind: Kind = "size", beside: list[object] | None = None) -> list[float | None]:
    """What the cells of a column mean, beside another column of rates."""
    rows = (Row(f"line {n}", {"a": a, "b": b}) for n, (a, b) in enumerate(zip(column, beside or column, strict=True)))
    found = readers(table_of("x", rows), [("a", kind), ("b", "rate")] if beside else [("a", kind)])
    return [found["a", kind].read(cell) for cell in column]


@pytest.mark.parametrize(
    ("cells", "kind", "values"),
    [
        (["0,5", "1.024,25"], "loss", [0.5, 1024.25]),
        (["0.5", "1,024.25"], "loss", [0.5, 1024.25]),
        (["1,024,000", "12"], "size", [1024000, 12]),
        (["1.024.000", "12"], "size", [1024000, 12]),
        (["1,024", "512"], "size", [1024, 512]),
        (["1 024", "1\u202f024", "1'024", "1_024"], "size", [1024] * 4),
        (["1B", "350M", "2.5 k", "1T"], "size", [1e9, 3.5e8, 2500, 1e12]),
        (["3e-4 ", " 3E-4", "3d-4", "+3e−4", "2^-10", "3x10^-4", "10**-3"], "rate", [3e-4] * 4 + [2**-10, 3e-4, 1e-3]),
        (["−1.5", "–2"], "loss", [-1.5, -2]),
        (["75%", "12,5 %"], "loss", [0.75, 0.125]),
        (["3M", "6.1x", "0x40", "1.2.3", "12 34", "1e", "--", "e5", "."], "rate", [None] * 9),
        (["1,5e3", "1,024e3"], "loss", [1500, 1024]),
        ([64, Decimal("0.25"), numpy.float32(0.5), numpy.int64(3)], "size", [64, 0.25, 0.5, 3]),
        ([True, None, [1], {}], "size", [None] * 4),
    ],
)  # fmt: skip
def test_cells(cells: list[object], kind: Kind, values: list[float | None]) -> None:
    assert meant(cells, kind) == pytest.approx(values)


@pytest.mark.parametrize("text", ["NaN", "nan", "-nan", "1.#QNAN", "#NUM!"])
def test_not_a_number(text: str) -> None:
    (value,) = meant([text], "loss")
    assert value is not None and math.isnan(value)


def test_infinity() -> None:
    assert meant(["inf", "-Infinity", "∞", "−∞"], "loss") == [math.inf, -math.inf, math.inf, -math.inf]


def test_the_other_columns_decide_what_one_cannot() -> None:
    assert meant(["3,877", "4,159"], "loss", beside=["0,001", "0,002"]) == [3.877, 4.159]
    assert meant(["1.024", "512"], "size", beside=["0,001", "0,002"]) == [1024, 512]
    assert meant(["3.877", "4.159"], "loss", beside=["0.001", "0.002"]) == [3.877, 4.159]


@pytest.mark.parametrize(
    ("cells", "kind", "beside", "said"),
    [
        (
            ["0,5", "0.5"],
            "loss",
            None,
            "column 'a': expected one decimal sign, but got '0,5' in line 0 and '0.5' in line 1",
        ),
        (["3,877"], "loss", None, "line 0, column 'a': expected an unambiguous number, but '3,877'"),
        (["3.877"], "loss", ["0,001"], "an unambiguous number, but '3.877'"),
        (["1,024"], "size", ["0,001"], "an unambiguous number, but '1,024'"),
        (["1,024", "1.024"], "size", None, "an unambiguous number"),
        (
            ["5%", "0.1"],
            "loss",
            None,
            "percent signs in all cells or in none, but got '5%' in line 0 and '0.1' in line 1",
        ),
    ],
)
def test_what_reads_in_two_ways_is_refused(
    cells: list[object], kind: Kind, beside: list[object] | None, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        meant(cells, kind, beside)
    assert said in str(caught.value)


def test_numbers_of_programs() -> None:
    assert [number(v) for v in ("1e-3", "1,5", "", None, True, "1" * 400, 10**400)] == [
        1e-3,
        None,
        None,
        None,
        None,
        math.inf,
        None,
    ]
