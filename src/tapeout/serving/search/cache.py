"""Answers kept by content: the same inputs and the same code give the same file.

The key is a hash of everything that the answer depends on: the inputs in full, the release, and
the source of the rooms that compute it. So an edit of a law or of a data file never meets an old
answer. A folder that cannot be read or written is no error: the answer is computed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from dataclasses import fields, is_dataclass
from enum import Enum
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

import tapeout
from tapeout.files import write_whole

OVERRIDE = "TAPEOUT_CACHE_DIR"
ROOMS = (
    "constants", "errors", "units", "quantities", "files", "sources", "numerics", "catalog",
    "workload", "chip", "fabric", "perf", "serving",
)  # fmt: skip
"""Every room up to this one in the order of imports: none that an answer could depend on is missed,
at the price that an edit of one that it does not depend on computes it again."""
LIBRARIES = ("numba", "numpy", "scipy")


def folder() -> Path:
    """Folder of kept answers: in $TAPEOUT_CACHE_DIR or the user's cache folder."""
    named = os.environ.get(OVERRIDE)
    return (Path(named) if named else Path(platformdirs.user_cache_dir("tapeout"))) / "capacity"


def key_of(inputs: Any) -> str:
    """Hash of inputs, release, libraries and the source of the rooms."""
    content = {
        "release": tapeout.__version__,
        "source": source_digest(),
        "libraries": {name: version(name) for name in LIBRARIES},
        "inputs": canonical(inputs),
    }
    text = json.dumps(content, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def source_digest() -> str:
    """Hash of every file that may compute an answer, compiled ones apart."""
    root = Path(tapeout.__file__).parent
    found = hashlib.sha256()
    for path in hashed_files(root):
        found.update(str(path.relative_to(root)).encode() + b"\0")
        found.update(path.read_bytes() + b"\0")
    return found.hexdigest()


def hashed_files(root: Path) -> list[Path]:
    """Files of the rooms: modules that are one file, and all that is in folders, in order."""
    single = [path for room in ROOMS if (path := root / f"{room}.py").is_file()]
    inside = [one for room in ROOMS for one in (root / room).rglob("*")]
    return sorted(
        path for path in [*single, *inside] if path.is_file() and "__pycache__" not in path.parts
    )


def canonical(value: Any) -> Any:
    """A value as JSON with every field of every type by name; floats to their last digit.

    Raises
    ------
    TypeError
        A type whose content is not known; better no key than a wrong one.
    """
    if isinstance(value, np.generic):
        return canonical(value.item())
    if isinstance(value, Enum | Path):
        return [type(value).__qualname__, str(value)]
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value.hex()
    return _parts(value)


def _parts(value: Any) -> Any:
    """Canonical form of what has parts."""
    if isinstance(value, np.ndarray):
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return ["array", str(value.dtype), list(value.shape), digest]
    if isinstance(value, list | tuple):
        return [canonical(one) for one in value]
    if isinstance(value, set | frozenset):
        return sorted((canonical(one) for one in value), key=json.dumps)
    return _named(value)


def _named(value: Any) -> Any:
    """Canonical form of what has named parts."""
    name = type(value).__qualname__
    if is_dataclass(value) and not isinstance(value, type):
        return [name, {one.name: canonical(getattr(value, one.name)) for one in fields(value)}]
    dump: Any = getattr(value, "model_dump", None)
    if dump is not None:
        return [name, canonical(dump())]
    items: Any = getattr(value, "items", None)
    if items is not None:
        return ["mapping", [[canonical(key), canonical(one)] for key, one in items()]]
    raise TypeError(f"{name} has no canonical form, so nothing that depends on it can be kept")


def read(key: str) -> Any:
    """What was kept under a key, None where there is nothing that can be read."""
    with contextlib.suppress(OSError, UnicodeDecodeError, json.JSONDecodeError):
        return json.loads((folder() / f"{key}.json").read_text(encoding="utf-8"))
    return None


def keep(key: str, content: Any) -> None:
    """Keep an answer; a folder that cannot be written keeps nothing."""
    with contextlib.suppress(OSError):
        write_whole(folder() / f"{key}.json", json.dumps(content) + "\n")
