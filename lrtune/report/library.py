"""Vega, the chart library of the page, as one script; cached, since bundling takes seconds."""

import contextlib
import importlib.metadata
from typing import Any

from lrtune.extras import import_extra
from lrtune.files import cache_folder, is_private, make_private, read_text, write_whole


def vl_convert() -> Any:
    """The package that contains Vega and renders charts as images.

    Raises:
        MissingExtraError: it is not installed.
    """
    return import_extra("vl_convert", extra="report", purpose="the report", package="vl-convert-python")


def vega_script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script to embed in a page."""
    converter = vl_convert()
    kept = cache_folder() / "report" / f"vega-{importlib.metadata.version('vl-convert-python')}.js"
    with contextlib.suppress(OSError):
        if is_private(kept) and is_private(kept.parent):  # the page embeds its content
            return read_text(kept)
    script = str(converter.javascript_bundle()).replace("</script", "<\\/script")
    with contextlib.suppress(OSError):
        make_private(kept.parent)
        write_whole(kept, script, private=True)
    return script
