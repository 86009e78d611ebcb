"""Traces as files of this project's own format."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.serving.traffic.readers.own import BLOCK_TOKENS
from tapeout.serving.traffic.trace import Trace

SUFFIXES = (".csv", ".jsonl", ".parquet")
_ROWS = 10_000  # written at once
_DIGITS = 6  # of times: microseconds


def write_trace(path: Path | str, trace: Trace) -> None:
    """Write a trace as `.csv`, `.jsonl` or `.parquet`, whole or not at all.

    Times have microseconds. What it was made of (`Trace.source`) is not in the file.

    Raises
    ------
    InfeasibleError
        The name has another ending, or the prefix blocks are not of 16 tokens.
    OSError
        The folder cannot be made or written.
    """
    path = Path(path).absolute()
    if path.suffix not in SUFFIXES:
        raise InfeasibleError(f"{path.name}: end the name in {', '.join(SUFFIXES)}")
    if trace.prefixes is not None and trace.prefixes.block_tokens != BLOCK_TOKENS:
        raise InfeasibleError(
            f"prefix blocks of {trace.prefixes.block_tokens} tokens cannot be written;"
            f" read the trace with blocks of {BLOCK_TOKENS}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if path.suffix == ".parquet":
            _write_parquet(partial, trace)
        else:
            with partial.open("w", encoding="utf-8", newline="") as file:
                file.writelines(_csv(trace) if path.suffix == ".csv" else _jsonl(trace))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _columns(trace: Trace, part: slice) -> dict[str, list[Any]]:
    """Columns that the trace has, as lists."""
    found: dict[str, list[Any]] = {
        "arrival_s": [round(one, _DIGITS) for one in trace.arrival_s[part].tolist()],
        "input_tokens": trace.input_tokens[part].tolist(),
        "output_tokens": trace.output_tokens[part].tolist(),
    }
    optional: dict[str, Ints | Floats | None] = {"client": trace.client, "parent": trace.parent}
    found |= {name: one[part].tolist() for name, one in optional.items() if one is not None}
    if trace.think_s is not None:
        found["think_s"] = [round(one, _DIGITS) for one in trace.think_s[part].tolist()]
    if trace.slo_class is not None:
        found["slo_class"] = [trace.classes[one] for one in trace.slo_class[part].tolist()]
    if trace.prefixes is not None:
        ends = trace.prefixes.offsets
        found["prefix_block_ids"] = [
            trace.prefixes.ids[begin:end].tolist()
            for begin, end in zip(ends[:-1][part].tolist(), ends[1:][part].tolist(), strict=True)
        ]
    return found


def _parts(trace: Trace) -> Iterator[dict[str, list[Any]]]:
    for first in range(0, trace.requests, _ROWS):
        yield _columns(trace, slice(first, first + _ROWS))


def _csv(trace: Trace) -> Iterator[str]:
    yield ",".join(_columns(trace, slice(0, 0))) + "\n"
    for columns in _parts(trace):
        texts = [[_cell(one) for one in column] for column in columns.values()]
        for row in zip(*texts, strict=True):
            yield ",".join(row) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, list):
        return f'"{json.dumps(value, separators=(",", ":"))}"'
    text = str(value)
    if isinstance(value, str) and any(mark in text for mark in ',"\n\r'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _jsonl(trace: Trace) -> Iterator[str]:
    for columns in _parts(trace):
        for row in zip(*columns.values(), strict=True):
            yield json.dumps(dict(zip(columns, row, strict=True)), separators=(",", ":")) + "\n"


def _write_parquet(path: Path, trace: Trace) -> None:
    import polars as pl  # noqa: PLC0415  # a quarter of a second to load

    whole = {"client": trace.client, "parent": trace.parent}
    columns: dict[str, Any] = {
        "arrival_s": trace.arrival_s.round(_DIGITS),
        "input_tokens": trace.input_tokens,
        "output_tokens": trace.output_tokens,
        **{name: one for name, one in whole.items() if one is not None},
    }
    if trace.think_s is not None:
        columns["think_s"] = trace.think_s.round(_DIGITS)
    if trace.slo_class is not None or trace.prefixes is not None:  # texts and lists
        every = _columns(trace, slice(None))
        names = ("slo_class", "prefix_block_ids")
        columns |= {name: every[name] for name in names if name in every}
    pl.DataFrame(columns).write_parquet(path)
