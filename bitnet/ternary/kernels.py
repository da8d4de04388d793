"""Builds and loads the C files beside it: once for each machine, by its own C compiler, kept in the cache folder.

Without a compiler, or on a processor that does not multiply int8 matrices in hardware, there are no kernels, and the
steps run on torch's operations alone. Which it is follows from the machine, never from a timing: equal runs on one
machine stay equal to the bit.
"""

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from bitnet.cache import is_private, private_folder, write_whole

_log = logging.getLogger("bitnet")
_SOURCES = [Path(__file__).with_name(name) for name in ("kernels.c", "attention.c", "cross_entropy.c")]
_HEADER = Path(__file__).with_name("rows.h")
_FLAGS = (
    *("-O3", "-march=native", "-mprefer-vector-width=512", "-fno-math-errno", "-fno-trapping-math"),
    *("-fopenmp", "-shared", "-fPIC"),
)
_INT8_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8"}
# The prototypes in the C files are the one list of the kernels and their arguments; the last one is the threads.
_PROTOTYPE = re.compile(r"^void (\w+)\(([^)]*),\s+int threads\) \{", re.MULTILINE)
_POINTERS = {"float": torch.float32, "int8_t": torch.int8, "int32_t": torch.int32, "int64_t": torch.int64}
_NUMBERS = {"long": (ctypes.c_long, int), "float": (ctypes.c_float, float)}


def run(name: str, *arguments: Tensor | int | float | None) -> None:
    """Call a kernel.

    Args:
        name: of a C function. arguments: what its prototype asks for, but the number of threads. Arrays are dense
            tensors of the prototype's type; None is no array.
    """
    found = library()
    assert found is not None
    wanted = found[name].signature
    assert len(arguments) == len(wanted), f"{name}: expected {len(wanted)} arguments, but got {len(arguments)}"
    passed = [_passed(argument, kind, name) for argument, kind in zip(arguments, wanted, strict=True)]
    found[name].function(*passed, torch.get_num_threads())


def _passed(argument: Tensor | int | float | None, kind: "torch.dtype | type", name: str) -> int | float | None:
    """The argument as C takes it; an array of another type, which C would misread, is a mistake of ours."""
    if isinstance(argument, Tensor):
        assert argument.dtype == kind and argument.is_contiguous(), f"{name}: expected dense {kind}, got {argument}"
        return int(argument.data_ptr())
    assert isinstance(kind, torch.dtype) if argument is None else isinstance(argument, kind), (name, kind, argument)
    return argument


class Kernel(NamedTuple):
    """A C function, and the type of each argument: a dtype for an array, else int or float."""

    function: Any
    signature: tuple["torch.dtype | type", ...]


@functools.cache
def library() -> dict[str, Kernel] | None:
    """The kernels by name, or None where there are none; says so in one line where a compiler failed."""
    flags = _processor_flags()
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not (compiler and _INT8_PRODUCTS & set(flags.split())):
        return None
    source = [path.read_bytes() for path in (*_SOURCES, _HEADER)]
    key = hashlib.sha256(b"\0".join([*source, repr(_FLAGS).encode(), platform.platform().encode(), flags.encode()]))
    try:
        return _declared(_built(compiler, f"kernels-{key.hexdigest()[:16]}.so"))
    except (OSError, subprocess.SubprocessError, AttributeError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or [type(error).__name__]
        _log.warning("the step's kernels could not be compiled (%s); going on without", reason[0][:200])
        return None


def _processor_flags() -> str:
    """What the processor can do, as Linux names it; nothing elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("flags"):
                return line.partition(":")[2]
    return ""


def _built(compiler: str, name: str) -> ctypes.CDLL:
    """The library of that name, compiled if the cache does not hold it whole and as this user's own."""
    with tempfile.TemporaryDirectory() as own:
        with contextlib.suppress(OSError):
            path = private_folder("kernels") / name
            if is_private(path) and path.with_suffix(".sha256").read_text() == _sha256(path):
                return ctypes.CDLL(str(path))
        _compile(compiler, Path(own) / name)
        with contextlib.suppress(OSError):
            path = private_folder("kernels") / name
            write_whole(path, lambda file: file.write((Path(own) / name).read_bytes()))
            write_whole(path.with_suffix(".sha256"), lambda file: file.write(_sha256(path).encode()))
        return ctypes.CDLL(str(Path(own) / name))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _compile(compiler: str, target: Path) -> None:
    command = [*compiler.split(), *_FLAGS, "-o", str(target), *map(str, _SOURCES), "-lm"]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)


def _declared(loaded: ctypes.CDLL) -> dict[str, Kernel]:
    """The functions that the C files define, with their prototypes told to ctypes."""
    found = {}
    for source in _SOURCES:
        for name, text in _PROTOTYPE.findall(source.read_text(encoding="utf-8")):
            function, types, signature = getattr(loaded, name), [], []
            for argument in text.split(","):
                kind = argument.replace("const ", "").split()[0]
                ctype, own = (ctypes.c_void_p, _POINTERS[kind]) if "*" in argument else _NUMBERS[kind]
                types.append(ctype)
                signature.append(own)
            function.argtypes, function.restype = [*types, ctypes.c_int], None
            found[name] = Kernel(function, tuple(signature))
    return found
