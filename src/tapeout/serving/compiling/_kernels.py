"""The decorator of the simulator's kernels, and a cache that follows all of their sources.

numba looks at the file of a function alone to see whether what it cached is stale: a kernel whose
callees or constants changed would run with the old ones. So the folder is named after a hash of
all sources.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numba
import platformdirs

SOURCES = ("_kernels.py", "state.py")


def cache_folder() -> Path:
    """Folder for compiled kernels, below `NUMBA_CACHE_DIR` where that is set."""
    digest = hashlib.sha256(numba.__version__.encode())
    room = Path(__file__).parents[1]
    for path in sorted(one for one in room.rglob("*.py") if one.name in SOURCES):
        digest.update(path.read_bytes())
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    base = Path(chosen) if chosen else Path(platformdirs.user_cache_dir("tapeout"))
    return base / "kernels" / digest.hexdigest()[:16]


numba.config.CACHE_DIR = str(cache_folder())  # type: ignore[attr-defined]

kernel = numba.njit(cache=True, error_model="numpy")
inlined = numba.njit(cache=True, error_model="numpy", inline="always")
"""Written into the one that calls it, which saves passing the arrays on."""
free_kernel = numba.njit(cache=True, error_model="numpy", nogil=True)
"""Runs beside other threads."""
