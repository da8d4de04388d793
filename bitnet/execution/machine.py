"""The device, threads, kernels and compiler that training would use on this machine."""

import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path

from lrtune.files import cache_folder


def describe() -> Iterator[tuple[str, str, str]]:
    """(name, state, text) of each component; the state is ok, missing or problem."""
    try:
        import torch

        from bitnet.ternary import kernels
    except Exception as error:  # a broken install raises anything
        yield "device", "problem", f"cannot import torch: {type(error).__name__}: {error}"
        return
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield "device", "ok", f"cuda: {', '.join(names)}"
    else:
        yield "device", "ok", "mps (Apple GPU)" if torch.backends.mps.is_available() else "cpu"
    yield "threads", "ok", f"torch would use {torch.get_num_threads()} in one process; a search divides them"
    state = "missing" if kernels.library() is None else "ok"
    yield "kernels", state, f"{kernels.describe()}; {cache_folder() / 'kernels'}"
    compilers = (os.environ.get("CXX"), "c++", "g++", "clang++")
    found = next((path for name in compilers if name and (path := shutil.which(name))), None)
    if found is None:
        yield "compiler", "missing", "no C++ compiler: steps run uncompiled and take up to twice as long"
    else:
        yield "compiler", "ok", found


def processor() -> str:
    """The processor's name on Linux; elsewhere its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
