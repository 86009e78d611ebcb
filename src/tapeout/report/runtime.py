"""The chart runtime that the page embeds: bundled once by vl-convert, then read from a cache.

Starting vl-convert costs more than a second, so its bundle is kept under the user's cache folder,
one file per version. A folder that cannot be written is no error: the bundle stays in memory.
"""

from __future__ import annotations

import contextlib
import functools
import os
from importlib.metadata import version
from pathlib import Path

import platformdirs

from tapeout.files import write_whole

_OVERRIDE = "TAPEOUT_CACHE_DIR"
_SNIPPET = "window.vegaEmbed=vegaEmbed;"
_MARK = "window.vegaEmbed="


def cache_folder() -> Path:
    """Folder of cached bundles: $TAPEOUT_CACHE_DIR or the user's cache folder."""
    named = os.environ.get(_OVERRIDE)
    return Path(named) if named else Path(platformdirs.user_cache_dir("tapeout"))


def bundle_path() -> Path:
    """Where the bundle of the installed vl-convert lies."""
    return cache_folder() / f"vega-{version('vl-convert-python')}.js"


@functools.cache
def vega_bundle(path: Path | None = None) -> str:
    """JavaScript that defines `vegaEmbed`, safe inside a script element.

    Parameters
    ----------
    path : Path, optional
        Cache file; default `bundle_path()`.

    Returns
    -------
    str
    """
    target = path or bundle_path()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        text = target.read_text(encoding="utf-8")
        if _MARK in text:
            return text
    text = _fresh()
    with contextlib.suppress(OSError):
        write_whole(target, text)
    return text


def _fresh() -> str:
    import vl_convert  # noqa: PLC0415  loads an engine; only when no bundle is cached

    bundle: str = vl_convert.javascript_bundle(_SNIPPET)
    # an element would end at this text wherever it stands
    return bundle.replace("</script", "<\\/script")
