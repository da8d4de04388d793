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
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitnet.cache import cache_folder

_log = logging.getLogger("bitnet")
_SOURCES = [Path(__file__).with_name(name) for name in ("kernels.c", "attention.c", "cross_entropy.c")]
_HEADER = Path(__file__).with_name("rows.h")
_FLAGS = (
    *("-O3", "-march=native", "-mprefer-vector-width=512", "-fno-math-errno", "-fno-trapping-math"),
    *("-fopenmp", "-shared", "-fPIC"),
)
_INT8_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8"}
_KINDS = {"p": ctypes.c_void_p, "n": ctypes.c_long, "f": ctypes.c_float}
# Arguments of each function before the number of threads: pointer, whole number, float.
_SIGNATURES = {
    "ternary": "pnnfpp",
    "norm_quantize": "pnnffppp",
    "unscale": "pnnpppp",
    "unscale_turned": "pnnpppnnnp",
    "attention": "pnnnnppp",
    "attention_backward": "pppppnnnnp",
    "cross_entropy": "pnnpnpp",
    "squared_relu_quantize": "pnnppffpppp",
    "row_digits": "pnnnppnppp",
    "column_digits": "pnnnnppnpp",
    "join": "pnnnpp",
    "norm_backward": "pnnnppppp",
    "squared_relu_backward": "pnnnpppppppp",
}


def run(name: str, *arguments: Tensor | int | float | None) -> None:
    """Call a kernel; tensors are dense, and of the types that it expects."""
    found = library()
    assert found is not None and all(a.is_contiguous() for a in arguments if isinstance(a, Tensor)), name
    pointers = [a.data_ptr() if isinstance(a, Tensor) else a for a in arguments]
    getattr(found, name)(*pointers, torch.get_num_threads())


def usable(x: Tensor) -> bool:
    """Whether there are kernels here, and for tensors such as `x`."""
    return x.dtype == torch.float32 and x.device.type == "cpu" and library() is not None


@functools.cache
def library() -> Any:
    """The loaded kernels, or None where there are none; says so in one line where a compiler failed."""
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
    """The library of that name, compiled if nobody has yet."""
    with contextlib.suppress(OSError):
        folder = cache_folder() / "kernels"
        if not (folder / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as own:
                _compile(compiler, Path(own) / name)
                os.replace(Path(own) / name, folder / name)
        return ctypes.CDLL(str(folder / name))
    with tempfile.TemporaryDirectory() as own:  # the cache cannot be written to, or holds something damaged
        _compile(compiler, Path(own) / name)
        return ctypes.CDLL(str(Path(own) / name))


def _compile(compiler: str, target: Path) -> None:
    command = [*compiler.split(), *_FLAGS, "-o", str(target), *map(str, _SOURCES), "-lm"]
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)


def _declared(loaded: ctypes.CDLL) -> ctypes.CDLL:
    for name, signature in _SIGNATURES.items():
        function = getattr(loaded, name)
        function.argtypes = [*(_KINDS[kind] for kind in signature), ctypes.c_int]
        function.restype = None
    return loaded
