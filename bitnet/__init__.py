"""BitNet b1.58 language models, the trainer bundled with lrtune."""

from typing import Any

__distribution__ = "lrtune"  # PyPI has another `bitnet`; see lrtune.trainer


def __getattr__(name: str) -> Any:
    if name == "BitLinear":
        from bitnet.model.decoder import BitLinear

        return BitLinear
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
