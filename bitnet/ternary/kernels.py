"""Builds and loads the C files of this folder: once per machine, with its C compiler, stored in the cache folder.

Without a compiler, steps use only torch's operations. The choice of kernels depends on the machine, never on a timing,
so that repeated runs on one machine are bit-identical. For tests and comparisons, ``$LRTUNE_CPU`` limits the processor
features that kernels use.
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

from lrtune.files import cache_folder, is_private, make_private, write_whole
from lrtune.trainer import InputError

_log = logging.getLogger("bitnet")
_NAMES = ("kernels", "attention", "cross_entropy", "floats", "pairs", "product")
_SOURCES = [Path(__file__).with_name(f"{name}.c") for name in _NAMES]
_HEADER = Path(__file__).with_name("rows.h")
_FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi", "-shared", "-fPIC")
_INT8_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8"}
CAP_VARIABLE = "LRTUNE_CPU"
# Level → the processor flag that it needs to be a limit, and the compiler's flags; for x86-64, lowest first.
_LEVELS: dict[str, tuple[str, tuple[str, ...]]] = {
    "plain": ("", ()),
    "avx2": ("avx2", ("-march=x86-64-v3",)),
    "avx512": ("avx512bw", ("-march=x86-64-v4",)),
}
# The prototypes in the C files define the kernels and their arguments; the last argument is the number of threads.
_PROTOTYPE = re.compile(r"^void (\w+)\(([^)]*),\s+int threads\) \{", re.MULTILINE)
_POINTERS = {"float": torch.float32} | {f"int{bits}_t": getattr(torch, f"int{bits}") for bits in (8, 16, 32, 64)}
_NUMBERS = {"long": (ctypes.c_long, int), "float": (ctypes.c_float, float)}


def run(name: str, *arguments: Tensor | int | float | None) -> None:
    """Call a kernel.

    Args:
        name: the C function. arguments: those of its prototype, without the number of threads. Arrays are dense
            tensors of the prototype's type; None is a null pointer.
    """
    found = library()
    assert found is not None
    wanted = found[name].signature
    assert len(arguments) == len(wanted), f"{name}: expected {len(wanted)} arguments, but got {len(arguments)}"
    passed = [_passed(argument, kind, name) for argument, kind in zip(arguments, wanted, strict=True)]
    found[name].function(*passed, torch.get_num_threads())


def _passed(argument: Tensor | int | float | None, kind: "torch.dtype | type", name: str) -> int | float | None:
    """The argument for ctypes; asserts the type of an array, because C would misread another."""
    if isinstance(argument, Tensor):
        assert argument.dtype == kind and argument.is_contiguous(), f"{name}: expected dense {kind}, got {argument}"
        return int(argument.data_ptr())
    assert isinstance(kind, torch.dtype) if argument is None else isinstance(argument, kind), (name, kind, argument)
    return argument


class Kernel(NamedTuple):
    """A C function and the type of each argument: a dtype for an array, else int or float."""

    function: Any
    signature: tuple["torch.dtype | type", ...]


def int8_in_hardware() -> bool:
    """Whether torch multiplies int8 matrices in hardware, several times faster than float32 ones."""
    return _cap() is None and bool(_INT8_PRODUCTS & _processor_flags()) and torch_is_exact()


@functools.cache
def torch_is_exact() -> bool:
    """Whether torch's int8 products are exact at the extremes; with AVX2 alone, their 16-bit sums saturate."""
    x = torch.full((64, 64), 127, dtype=torch.int8)
    return all(bool((torch._int_mm(sign * x, x) == sign * 127 * 127 * 64).all()) for sign in (1, -1))


def describe() -> str:
    """The kernels that run on this machine, and why, in one line."""
    if library() is None:
        return "only torch's operations: the C compiler is missing or failed"
    if int8_in_hardware():
        return "all kernels; int8 hardware computes products and gradients (as digits)"
    unit = "AVX2" if uses_avx2() else "NEON" if uses_neon() else "plain C"
    capped = f", capped by {CAP_VARIABLE}={_cap()}" if _cap() else ", no int8 products in hardware"
    return f"all kernels; forward products in {unit}, gradients by float32 products{capped}"


def uses_avx2() -> bool:
    """Whether `product.c` uses AVX2."""
    return "avx2" in _processor_flags() and _cap() != "plain"


def uses_neon() -> bool:
    """Whether `product.c` uses NEON's dot products; all of Apple's processors have them."""
    is_apple = (platform.system(), platform.machine()) == ("Darwin", "arm64")
    return ("asimddp" in _processor_flags() or is_apple) and _cap() != "plain"


def _cap() -> str | None:
    """The level of ``$LRTUNE_CPU``, if it limits this processor."""
    named = os.environ.get(CAP_VARIABLE)
    if not named:
        return None
    if named not in _LEVELS:
        raise InputError(f"{CAP_VARIABLE}: expected one of {', '.join(_LEVELS)}, but got {named!r}")
    needed, _ = _LEVELS[named]
    return named if not needed or needed in _processor_flags() else None


def _processor_options() -> tuple[str, ...]:
    """The compiler's flags for this processor, within the limit of ``$LRTUNE_CPU``."""
    if (cap := _cap()) is not None:
        return _LEVELS[cap][1]
    if platform.machine() in ("x86_64", "AMD64"):
        return ("-march=native", *(["-mprefer-vector-width=512"] if "avx512f" in _processor_flags() else []))
    return ("-mcpu=native",)


@functools.cache
def library() -> dict[str, Kernel] | None:
    """The kernels by name; None without a compiler, or with a warning if it failed."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        return None
    options = (*_FLAGS, *_processor_options())
    machine = platform.system(), platform.release(), platform.machine(), sorted(_processor_flags()), compiler
    source = [path.read_bytes() for path in (*_SOURCES, _HEADER)]
    key = hashlib.sha256(b"\0".join([*source, repr((options, machine)).encode()]))
    try:
        return _declared(_built(compiler, options, f"kernels-{key.hexdigest()[:16]}.so"))
    except (OSError, subprocess.SubprocessError, AttributeError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines() or [type(error).__name__]
        _log.warning("cannot compile the kernels (%s); continuing without them", reason[0][:200])
        return None


@functools.cache
def _processor_flags() -> frozenset[str]:
    """The processor's feature flags on Linux; empty elsewhere."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def _built(compiler: str, options: tuple[str, ...], name: str) -> ctypes.CDLL:
    """Path of the library; compile it unless the cache has a valid copy that this user owns."""
    with tempfile.TemporaryDirectory() as own:
        with contextlib.suppress(OSError):
            path = cache_folder() / "kernels" / name
            make_private(path.parent)
            if is_private(path) and path.with_suffix(".sha256").read_text() == _sha256(path):
                return ctypes.CDLL(str(path))
        _compile(compiler, options, Path(own) / name)
        with contextlib.suppress(OSError):
            path = cache_folder() / "kernels" / name
            make_private(path.parent)
            write_whole(path, (Path(own) / name).read_bytes(), private=True)
            write_whole(path.with_suffix(".sha256"), _sha256(path))
        return ctypes.CDLL(str(Path(own) / name))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _compile(compiler: str, options: tuple[str, ...], target: Path) -> None:
    """Compile with OpenMP if the compiler supports it, else for one thread."""
    command = [*compiler.split(), *options, "-o", str(target), *map(str, _SOURCES), "-lm"]
    try:
        subprocess.run([*command, "-fopenmp"], check=True, capture_output=True, text=True, timeout=60)
    except subprocess.CalledProcessError as error:
        try:
            subprocess.run([*command, "-fopenmp-simd"], check=True, capture_output=True, text=True, timeout=60)
        except subprocess.CalledProcessError:
            raise error from None


def _declared(loaded: ctypes.CDLL) -> dict[str, Kernel]:
    """The functions of the C files, declared to ctypes by their prototypes."""
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
