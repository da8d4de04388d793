"""The long parts of a rule file as short text: draws, marks of runs, and cells as a table by columns.

Packed numbers are whole and of 16 bits, little-endian: first the low bytes of all, then the high ones; deflated, in
base64. A measured cell takes a third of its length as lists, and is read in a tenth of the time.
"""

from __future__ import annotations

import binascii
import sys
import zlib
from collections.abc import Mapping, Sequence

from lrtune.errors import InputError
from lrtune.rule.data import CellDraws, Draws, RuleCell

TYPE_CHECKING = False  # `typing` is not imported: see `lrtune.named`
if TYPE_CHECKING:
    from typing import Any

MOST = 2**21  # packed numbers of a file: as many as its length allowed as lists
_MARK = 3  # bytes of a run's mark
_POWERS = range(-8, 330)  # of ten that a shape's parameter is divided by


def pack(data: bytes, width: int) -> str:
    """Numbers of `width` bytes each as text."""
    # Small blocks: the codes of law, optima and shapes differ.
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, 3)
    packed = deflate.compress(b"".join(data[i::width] for i in range(width))) + deflate.flush()
    return binascii.b2a_base64(packed, newline=False).decode()


def unpack(where: str, text: str, width: int, count: int, order: str = "little") -> bytearray:
    """The inverse of `pack`; `order` is that of the bytes in memory.

    Raises:
        InputError: the text is not `count` packed numbers.
    """
    size, inflate = width * count, zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        planes = inflate.decompress(binascii.a2b_base64(text), size + 1)
    except (ValueError, zlib.error):
        planes = b""
    if len(planes) != size or not inflate.eof:
        raise InputError(f"{where}: expected {count:,} packed numbers of {width} bytes")
    data = bytearray(size)
    for i in range(width):
        byte = i if order == "little" else width - 1 - i
        data[byte::width] = planes[i * count : (i + 1) * count]
    return data


def pack_runs(marks: str) -> dict[str, Any] | str:
    """The marks of runs; as they are if they are not hexadecimal digits of whole marks."""
    try:
        data = bytes.fromhex(marks)
    except ValueError:
        return marks
    if not data or data.hex() != marks or len(data) % _MARK:
        return marks
    return {"count": len(data) // _MARK, "marks": pack(data, _MARK)}


def unpack_runs(where: str, count: int, text: str) -> str:
    """The inverse of `pack_runs`."""
    return unpack(f"{where}.marks", text, _MARK, count).hex()


def pack_draws(draws: Draws) -> dict[str, Any]:
    """The draws as a table of what describes them, and their columns as one text.

    Raises:
        InputError: a number has more than 16 bits.
    """
    import struct  # reading needs none

    decimals = [f"{value:.3e}".split("e") for shape in draws.shapes for value in shape]
    numbers = [int(digits.replace(".", "")) for digits, _ in decimals] + [3 - int(power) for _, power in decimals]
    columns = [draws.level, *draws.slopes, *draws.bends, *draws.wander_sd, *draws.steps_sd, draws.own_sd]
    columns += [column for parts in (*draws.wander, *draws.steps) for column in parts]
    columns += [*(cell.off for cell in draws.cells), draws.shape, *(cell.shape for cell in draws.cells)]
    columns += [draws.height, *(cell.height for cell in draws.cells)]
    numbers += [value for column in columns for value in column]
    try:
        data = struct.pack(f"<{len(numbers)}h", *numbers)
    except struct.error:
        raise InputError("draws: expected whole numbers of 16 bits") from None
    return {
        "count": len(draws.level),
        "cells": len(draws.cells),
        "shapes": len(draws.shapes),
        "values": draws.values,
        "steps": bool(draws.steps),
        "reach": draws.reach,
        "inert": draws.inert,
        "ratio": draws.ratio,
        "numbers": pack(data, 2),
    }


def unpack_draws(where: str, table: Mapping[str, Any]) -> Draws:
    """The inverse of `pack_draws`; the shapes' parameters have four digits.

    Raises:
        InputError: the text does not hold the numbers that the table describes.
    """
    count, cells, sizes = table["count"], table["cells"], [len(values) for values in table["values"]]
    scales, rows = len(sizes), table["shapes"]
    several = scales + sum(sizes) if table["steps"] else 0
    width = 1 + scales + scales * (scales + 1) // 2 + scales + sum(sizes) + several + 3 + 3 * cells
    total = 16 * rows + width * count
    if total > MOST:
        raise InputError(f"{where}: expected at most {MOST:,} numbers, but got {total:,}")
    data = unpack(f"{where}.numbers", table["numbers"], 2, total, sys.byteorder)
    numbers = tuple(memoryview(data).cast("h"))
    digits, powers = numbers[: 8 * rows], numbers[8 * rows : 16 * rows]
    if rows and not (min(powers) in _POWERS and max(powers) in _POWERS):
        raise InputError(f"{where}.shapes: expected numbers of four digits")
    tens = {power: 10**power for power in set(powers)}
    parameters = [digit / tens[power] for digit, power in zip(digits, powers, strict=True)]
    columns = iter([numbers[at : at + count] for at in range(16 * rows, total, count)])

    def take(many: int) -> tuple[tuple[int, ...], ...]:
        return tuple(next(columns) for _ in range(many))

    level, slopes, bends, wander_sd = next(columns), take(scales), take(scales * (scales + 1) // 2), take(scales)
    steps_sd, own_sd = take(scales if several else 0), next(columns)
    wander = tuple(take(size) for size in sizes)
    steps = tuple(take(size) for size in sizes) if several else ()
    off, shape, shapes, height, heights = take(cells), next(columns), take(cells), next(columns), take(cells)
    return Draws(
        shapes=tuple(tuple(parameters[at : at + 8]) for at in range(0, 8 * rows, 8)),
        level=level,
        slopes=slopes,
        bends=bends,
        reach=table["reach"],
        wander=wander,
        wander_sd=wander_sd,
        steps=steps,
        steps_sd=steps_sd,
        own_sd=own_sd,
        inert=table["inert"],
        shape=shape,
        height=height,
        cells=tuple(map(CellDraws, off, shapes, heights)),
        ratio=table["ratio"],
        values=table["values"],
    )


def by_columns(cells: Sequence[RuleCell]) -> dict[str, Any]:
    """Cells as a list for each field and scale; a field that no cell has is left out."""
    columns = {name: [getattr(cell, name) for cell in cells] for name in RuleCell._fields if name != "scales"}
    filled = {name: column for name, column in columns.items() if any(value is not None for value in column)}
    return {"scales": {name: [cell.scales[name] for cell in cells] for name in cells[0].scales}, **filled}
