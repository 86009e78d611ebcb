"""`validate convert`: from files of published measurements to rows of operator cases."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tapeout.errors import InfeasibleError
from tapeout.perf import ops
from tapeout.perf.ops.cases import COLUMNS

PREFIX = "convert_"
SERVING_MARK = {"chip", "model", "concurrency_or_qps"}


@cache
def converters() -> tuple[Any, ...]:
    """All converters of `tapeout.perf.ops.convert_*`, in order of module and place."""
    found: list[Any] = []
    for module in sorted(pkgutil.iter_modules(ops.__path__), key=lambda one: one.name):
        if module.name.startswith(PREFIX):
            loaded = importlib.import_module(f"{ops.__name__}.{module.name}")
            found.extend(getattr(loaded, "CONVERTERS", ()))
    return tuple(found)


def convert(path: Path) -> tuple[str, tuple[str, ...], list[Mapping[str, str]]]:
    """Convert one file.

    Returns
    -------
    (name, columns, rows)
        Name of the converter, the columns in use in the order of the cases, and the rows.

    Raises
    ------
    InfeasibleError
        The file cannot be read, or no converter knows it.
    """
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            header = tuple(cell.strip() for cell in lines.readline().strip().split(","))
    except (OSError, UnicodeDecodeError) as error:
        raise InfeasibleError(f"{path} cannot be read: {error}") from error
    if set(header) >= SERVING_MARK:
        raise InfeasibleError(
            f"{path} holds serving rows already; run: tapeout validate serving {path}"
        )
    known = converters()
    chosen = next((one for one in known if one.matches(path, header)), None)
    if chosen is None:
        names = ", ".join(one.name for one in known) or "none in this version"
        raise InfeasibleError(f"no converter knows {path}; converters: {names}")
    rows: list[Mapping[str, str]] = [dict(row) for row in chosen.rows(path)]
    used = {name for row in rows for name, value in row.items() if value != ""}
    columns = tuple(name for name in COLUMNS if name in used or name in ("chip", "op"))
    return str(chosen.name), columns, rows
