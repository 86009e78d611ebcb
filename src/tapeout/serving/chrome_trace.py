"""A run as trace events, for Perfetto and chrome://tracing.

One process for each replica, requests as nested asynchronous slices (the whole request, and in it
queue, prefill, decode and preempted), counters of running and waiting sequences and held cache
blocks over all replicas. A run keeps no list of its steps, so there are no slices for them.

The format is that of the Trace Event Format [1]_, whose times are microseconds.

References
----------
.. [1] N. Duca, D. Sinclair, "Trace Event Format", 2016.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.constants import MICRO
from tapeout.files import write_whole
from tapeout.serving.engine.types import Simulation
from tapeout.serving.phases import order_of, phases
from tapeout.serving.records import outcome

MOST_REQUESTS = 1000
MOST_SAMPLES = 2000
DIGITS = 3  # of a microsecond: the format's readers keep nanoseconds
ALL = 0  # process of the counters; replica i is process i + 1


def trace_events(simulation: Simulation, *, most: int = MOST_REQUESTS) -> dict[str, Any]:
    """The first requests of a run, and its counters, as one JSON object.

    Parameters
    ----------
    simulation : Simulation
        With a log preemptions have their place; with a timeline there are counters.
    most : int
        Requests shown; those that arrived first.
    """
    requests = simulation.requests
    chosen = order_of(requests, most)
    replicas = sorted({int(one) for one in requests.replica[list(chosen)]})
    events = [
        *_names(replicas, counters=simulation.timeline is not None),
        *_requests(simulation, chosen),
        *_counters(simulation),
    ]
    served = int(np.count_nonzero(np.isfinite(requests.scheduled_s)))
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "requests in the run": requests.arrival_s.size,
            "requests shown": len(chosen),
            "left out": f"{served - len(chosen)} served requests that arrived later, and the"
            " steps of the engine",
            "preemptions": "in place" if simulation.log is not None else "inside decode: no log",
        },
    }


def write_trace(simulation: Simulation, path: Path, *, most: int = MOST_REQUESTS) -> None:
    """Write the trace events as JSON, all or nothing.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    found = trace_events(simulation, most=most)
    write_whole(path, json.dumps(found, separators=(",", ":"), allow_nan=False))


def _names(replicas: list[int], *, counters: bool) -> Iterator[dict[str, Any]]:
    """Names and order of the processes."""
    shown = [(ALL, "all replicas")] if counters else []
    shown += [(replica + 1, f"replica {replica}") for replica in replicas]
    for process, name in shown:
        yield _meta("process_name", process, {"name": name})
        yield _meta("process_sort_index", process, {"sort_index": process})


def _meta(kind: str, process: int, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": process, "tid": 0, "args": arguments}


def _requests(simulation: Simulation, chosen: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """A begin and an end for each request and each of its phases, nested by their identity."""
    requests = simulation.requests
    found: dict[int, list[tuple[str, float, float]]] = {}
    for phase in phases(simulation, chosen):
        found.setdefault(phase.request, []).append((phase.name, phase.start_s, phase.end_s))
    for one, parts in found.items():
        process = int(requests.replica[one]) + 1
        whole = (f"request {one}", parts[0][1], parts[-1][2])
        yield _edge("b", process, one, whole[0], whole[1]) | {"args": outcome(requests, one)}
        for name, start_s, end_s in parts:
            yield _edge("b", process, one, name, start_s)
            yield _edge("e", process, one, name, end_s)
        yield _edge("e", process, one, whole[0], whole[2])


def _edge(kind: str, process: int, request: int, name: str, time_s: float) -> dict[str, Any]:
    return {
        "name": name,
        "cat": "request",
        "ph": kind,
        "id": request,
        "pid": process,
        "tid": 0,
        "ts": _us(time_s),
    }


def _counters(simulation: Simulation) -> Iterator[dict[str, Any]]:
    """Running and waiting sequences together, cache blocks apart."""
    line = simulation.timeline
    if line is None:
        return
    stride = -(-line.time_s.size // MOST_SAMPLES) if line.time_s.size else 1
    for place in range(0, line.time_s.size, stride):
        at = {"ph": "C", "pid": ALL, "tid": 0, "ts": _us(float(line.time_s[place]))}
        running, waiting = float(line.running[place]), float(line.waiting[place])
        yield at | {"name": "sequences", "args": {"running": running, "waiting": waiting}}
        yield at | {"name": "KV blocks held", "args": {"blocks": float(line.blocks[place])}}


def _us(time_s: float) -> float:
    return round(time_s / MICRO, DIGITS)
