"""Readers of traces; the format is recognised, or named."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from tapeout.errors import UnknownNameError
from tapeout.serving.traffic.readers import own
from tapeout.serving.traffic.readers.assemble import collect
from tapeout.serving.traffic.readers.azure import AzureReader
from tapeout.serving.traffic.readers.base import (
    Reader,
    ReadOptions,
    ReadReport,
    Rows,
    Tally,
    columns_in_words,
    refused,
)
from tapeout.serving.traffic.readers.burstgpt import BurstGptReader
from tapeout.serving.traffic.readers.checking import beyond, checked
from tapeout.serving.traffic.readers.hashed import BAILIAN, LLMSERVINGSIM, MOONCAKE
from tapeout.serving.traffic.readers.inference_perf import ReportReader, SharedPrefixReader
from tapeout.serving.traffic.readers.lengths import SHAREGPT_LENGTHS, VIDUR, VIDUR_LENGTHS
from tapeout.serving.traffic.readers.servegen import UNSUPPORTED, read_clients
from tapeout.serving.traffic.readers.sniff import names_of
from tapeout.serving.traffic.scaling import fits, take
from tapeout.serving.traffic.servegen import generate_clients
from tapeout.serving.traffic.trace import Trace

_CSV: tuple[Reader, ...] = (
    AzureReader(),
    BurstGptReader(),
    own.CSV,
    VIDUR,
    VIDUR_LENGTHS,
    SHAREGPT_LENGTHS,
)
_JSONL: tuple[Reader, ...] = (
    BAILIAN,
    MOONCAKE,
    LLMSERVINGSIM,
    SharedPrefixReader(),
    own.JSONL,
)
_BY_MODE: dict[str, tuple[Reader, ...]] = {
    "csv": _CSV,
    "jsonl": _JSONL,
    "json": (ReportReader(),),
    "parquet": (own.PARQUET,),
}
READERS: dict[str, Reader] = {one.name: one for many in _BY_MODE.values() for one in many}
SERVEGEN = "servegen"
SERVEGEN_COLUMNS = frozenset({"client", "window_start_s", "rate_rps", "iat_family"})
FORMATS = (*READERS, SERVEGEN)

__all__ = [
    "FORMATS",
    "READERS",
    "ReadOptions",
    "ReadReport",
    "read_chunks",
    "read_clients",
    "read_trace",
    "recognise",
]


def recognise(path: Path) -> str:
    """Return the name of a file's format, from its columns or the keys of its first record.

    Raises
    ------
    ProblemsError
        The file cannot be read, or no format has these columns.
    """
    mode, names = names_of(path)
    if mode == "csv" and names >= SERVEGEN_COLUMNS:
        return SERVEGEN
    for reader in _BY_MODE[mode]:
        if reader.recognises(names):
            return reader.name
    shown = columns_in_words(sorted(names))
    raise refused(
        path,
        f"no known format has these columns or keys: {shown}",
        f"name the format ({', '.join(FORMATS)})",
    )


def read_trace(path: Path | str, options: ReadOptions | None = None) -> tuple[Trace, ReadReport]:
    """Read a trace of any known format.

    Parameters
    ----------
    path : Path or str
    options : ReadOptions, optional

    Returns
    -------
    (Trace, ReadReport)

    Raises
    ------
    ProblemsError
        The file cannot be read, its rows are out of order, or it has no request.
    UnknownNameError
        There is no such format.
    """
    path, options = Path(path), options or ReadOptions()
    name = options.format or recognise(path)
    if name == SERVEGEN:
        return _drawn(path, options)
    return collect(_reader(name), path, options)


def read_chunks(path: Path | str, options: ReadOptions | None = None) -> Iterator[Rows]:
    """Yield the good rows of a file in chunks, for files larger than memory.

    Prefix identities are those of the file, parents are numbers of rows, and coarse stamps are as
    they are. Rows are never sorted here. What was left out is not reported.
    """
    path, options = Path(path), replace(options or ReadOptions(), sort=False)
    name = options.format or recognise(path)
    yield from checked(_reader(name), path, options, Tally())


def _reader(name: str) -> Reader:
    if name not in READERS:
        raise UnknownNameError("trace format", name, FORMATS)
    return READERS[name]


def _drawn(path: Path, options: ReadOptions) -> tuple[Trace, ReadReport]:
    """Requests of ServeGen clients: drawn, since the file has statistics only."""
    stats = read_clients(path)
    trace = generate_clients(stats, options.seed, window_s=options.window_s)
    rows, tally = trace.requests, Tally()
    if options.max_model_len is not None:
        trace, left = fits(trace, options.max_model_len)
        tally.drop(f"longer than {options.max_model_len:,} tokens", [], left)
    if options.requests is not None and trace.requests > options.requests:
        tally.drop(beyond(options), [], trace.requests - options.requests)
        trace = take(trace, np.arange(options.requests))
    notes = [
        f"{rows:,} requests drawn from {stats.clients.size} clients with seed {options.seed}",
        UNSUPPORTED,
    ]
    if stats.unknown_fraction > 0.0:
        notes.append(
            f"{stats.unknown_fraction:.1%} of the requests are from clients without lengths:"
            " they have the pooled lengths of the others"
        )
    report = ReadReport(
        path=str(path),
        format=SERVEGEN,
        rows=rows,
        kept=trace.requests,
        dropped=tally.dropped(),
        notes=tuple(notes),
    )
    return trace, report
