"""One row a request: the columns of docs/simulate.md, as CSV or Parquet."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.serving.engine.types import RequestTable, Timeline
from tapeout.serving.metrics import latencies_s

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tapeout.serving.objectives import Flags
    from tapeout.serving.traffic import Trace

CSV, PARQUET = ".csv", ".parquet"
TIMES = ("arrival_s", "scheduled_s", "first_token_s", "last_token_s")
FORMULA = r"^\s*[=+\-@|]"  # a text that a spreadsheet takes for one
PS_DIGITS = 12  # the clock of the engine counts picoseconds
COUNTS = ("input_tokens", "output_tokens", "hit_tokens", "preemptions", "replica")


def outcome(requests: RequestTable, one: int) -> dict[str, Any]:
    """What became of one request, finite figures only."""
    found = {name: float(values[one]) for name, values in latencies_s(requests).items()}
    return {name: int(getattr(requests, name)[one]) for name in COUNTS} | {
        f"{name}_s": value for name, value in found.items() if math.isfinite(value)
    }


def columns(
    requests: RequestTable, trace: Trace | None = None, met: Flags | None = None
) -> dict[str, NDArray[Any] | list[str]]:
    """Columns by name, in order; each of shape (request,).

    Parameters
    ----------
    requests : RequestTable
    trace : Trace, optional
        Gives client and class where it has them.
    met : array of bool, shape (request,), optional
        Whether a request met every limit.
    """
    found: dict[str, NDArray[Any] | list[str]] = {"request": np.arange(requests.arrival_s.size)}
    if trace is not None and trace.client is not None:
        found["client"] = trace.client
    if trace is not None and trace.slo_class is not None and trace.classes:
        found["class"] = [trace.classes[int(one)] for one in trace.slo_class]
    found |= {name: getattr(requests, name) for name in COUNTS}
    times = {name: getattr(requests, name) for name in TIMES}
    times |= {f"{name}_s": values for name, values in latencies_s(requests).items()}
    times["preempted_s"] = requests.preempted_s
    found |= {name: np.round(values, PS_DIGITS) for name, values in times.items()}
    found |= {
        "energy_j": requests.energy_j,
        "rejected": requests.rejected.astype(np.bool_),
    }
    if met is not None:
        found["met_slo"] = met
    return found


def timeline_columns(timeline: Timeline) -> dict[str, Floats]:
    """Columns of a timeline by name."""
    names = ("time_s", "running", "waiting", "blocks", "prompt_tokens", "output_tokens")
    return {name: getattr(timeline, name) for name in names}


def check_ending(path: Path) -> None:
    """Refuse an ending that is not written, before anything is computed.

    Raises
    ------
    InfeasibleError
        The ending is neither .csv nor .parquet.
    """
    if path.suffix.lower() not in (CSV, PARQUET):
        raise InfeasibleError(f"--out {path}: end the name in .csv or .parquet, or name a folder")


def write_columns(path: Path, found: Mapping[str, Any]) -> None:
    """Write columns as CSV or Parquet by the ending of the name, all or nothing.

    nan is blank in CSV and null in Parquet: a latency that is undefined. In CSV a text that a
    spreadsheet would compute begins with an apostrophe.

    Raises
    ------
    InfeasibleError
        Another ending.
    OSError
        The file cannot be written.
    """
    check_ending(path)
    import polars as pl  # noqa: PLC0415  heavy

    table = pl.DataFrame(dict(found)).fill_nan(None)
    if path.suffix.lower() == CSV:
        texts = [name for name, kind in table.schema.items() if kind == pl.String]
        harmless = [
            pl.when(pl.col(name).str.contains(FORMULA))
            .then(pl.concat_str(pl.lit("'"), pl.col(name)))
            .otherwise(pl.col(name))
            .alias(name)
            for name in texts
        ]
        table = table.with_columns(harmless)
        _whole(path, table.write_csv)
    else:
        _whole(path, table.write_parquet)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, all or nothing."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    _whole(path, lambda at: at.write_text(text, encoding="utf-8"))


def _whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write through a temporary name in the same folder."""
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(partial)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
