"""Several replicas that know nothing of each other: a trace cut into shares, the runs put together.

The simplest fleet: a share is fixed before the run, by turns or by client. Routers that look at
load or caches need the replicas' states in time and are another module's matter; they can take the
place of `run_split`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.serving.engine.gaps import pooled
from tapeout.serving.engine.job import Front, Job, prepare
from tapeout.serving.engine.types import (
    Log,
    RequestTable,
    Rules,
    RunTotals,
    Simulation,
    StepTable,
    Timeline,
)
from tapeout.serving.traffic.scaling import roots, take
from tapeout.serving.traffic.trace import Trace


class Runner(Protocol):
    """Runs one replica: the compiled engine, or the readable reference."""

    def __call__(
        self,
        job: Job,
        rules: Rules,
        table: StepTable,
        *,
        samples_s: float = 0.0,
        log: bool = False,
        gaps_from_s: float | None = None,
    ) -> Simulation:
        """Run the job to its end."""
        ...


def silent(stage: str, done: float) -> None:
    """Tell nobody."""
    del stage, done


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What a fleet of equal replicas is to do.

    Attributes
    ----------
    rules, table, front
        Of every replica.
    replicas : int
    by_client : bool
        Requests of one client go to one replica; else conversations go round.
    in_flight : int
        Of all replicas together, 0: an open loop.
    samples_s : float
        Interval of the timeline, 0: none. [s]
    log : bool
    gaps_from_s : float, optional
        Gaps between tokens that end from this time on are counted; None: none. [s]
    runner : Runner
    tell : callable
        Gets the stage and the share done.
    """

    rules: Rules
    table: StepTable
    runner: Runner
    front: Front = Front()  # noqa: RUF009 - frozen
    replicas: int = 1
    by_client: bool = False
    in_flight: int = 0
    samples_s: float = 0.0
    log: bool = False
    gaps_from_s: float | None = None
    tell: Callable[[str, float], None] = silent


class Fleet(Protocol):
    """Runs all replicas: requests of a trace in, one simulation out, in the trace's order."""

    def __call__(self, trace: Trace, task: Task) -> Simulation:
        """Run the trace to its end."""
        ...


def run_split(trace: Trace, task: Task) -> Simulation:
    """Run every replica on its fixed share of the trace.

    Raises
    ------
    InfeasibleError
        Fewer requests in flight than replicas.
    """
    if task.in_flight and task.in_flight < task.replicas:
        raise InfeasibleError(
            f"{task.in_flight} requests in flight are fewer than {task.replicas} replicas; "
            "each needs one"
        )
    shares = assign(trace, task.replicas, by_client=task.by_client)
    used = int(shares.max(initial=0)) + 1  # they go round, so those without a request are last
    places = [np.flatnonzero(shares == one) for one in range(used)]
    runs = []
    for number, place in enumerate(places):
        share = task.in_flight // task.replicas + (number < task.in_flight % task.replicas)
        job = prepare(take(trace, place), task.rules, front=task.front, in_flight=share)
        runs.append(
            task.runner(
                job,
                task.rules,
                task.table,
                samples_s=task.samples_s,
                log=task.log,
                gaps_from_s=task.gaps_from_s,
            )
        )
        task.tell("simulate", (number + 1) / task.replicas)
    return runs[0] if used == 1 else together(runs, places)


def assign(trace: Trace, replicas: int, *, by_client: bool = False) -> Ints:
    """Replica of every request: turns of a conversation, or of a client, stay together.

    Parameters
    ----------
    trace : Trace
    replicas : int
    by_client : bool
        By client where the trace has them; clients go round in order of appearance.

    Returns
    -------
    array of int, shape (request,)
    """
    key = np.arange(trace.requests)
    if by_client and trace.client is not None:
        key = trace.client.astype(np.int64)
    elif trace.parent is not None:
        key = roots(trace)
    _, first, group = np.unique(key, return_index=True, return_inverse=True)
    turn = np.empty(first.size, np.int64)
    turn[np.argsort(first, kind="stable")] = np.arange(first.size)
    found: Ints = turn[group] % replicas
    return found


def together(runs: Sequence[Simulation], places: Sequence[Ints]) -> Simulation:
    """Runs of shares of a trace as one run.

    Parameters
    ----------
    runs : sequence of Simulation
    places : sequence of array of int
        Where the requests of each run stand in the trace.

    Returns
    -------
    Simulation
        Peaks are sums of the replicas' peaks, which need not coincide.
    """
    whole = np.concatenate(places)
    back = np.argsort(whole)
    columns = {
        name: np.concatenate([getattr(run.requests, name) for run in runs])[back]
        for name in RequestTable.__slots__
    }
    number = np.repeat(np.arange(len(runs)), [place.size for place in places])
    columns["replica"] = number[back]
    sums: dict[str, Any] = {
        name: sum(getattr(run.totals, name) for run in runs) for name in RunTotals.__slots__
    } | {"end_s": max(run.totals.end_s for run in runs)}
    lines = [run.timeline for run in runs if run.timeline is not None]
    logs = [run.log for run in runs if run.log is not None]
    return Simulation(
        requests=RequestTable(**columns),
        totals=RunTotals(**sums),
        timeline=_timeline(lines) if lines else None,
        log=_log(logs, places) if logs else None,
        gaps=pooled([run.gaps for run in runs]),
    )


def _timeline(lines: Sequence[Timeline]) -> Timeline:
    """States added up; a replica that ended is empty."""
    longest = max(lines, key=lambda line: line.time_s.size)

    def added(name: str) -> Floats:
        total = np.zeros(longest.time_s.size)
        for line in lines:
            values = getattr(line, name)
            total[: values.size] += values
        return total

    sums = {name: added(name) for name in Timeline.__slots__ if name != "time_s"}
    return Timeline(time_s=longest.time_s, **sums)


def _log(logs: Sequence[Log], places: Sequence[Ints]) -> Log:
    """Events of all replicas in order of time, a replica's own order kept."""
    time = np.concatenate([log.time_ps for log in logs])
    order = np.argsort(time, kind="stable")
    request = np.concatenate([place[log.request] for log, place in zip(logs, places, strict=True)])
    return Log(
        kind=np.concatenate([log.kind for log in logs])[order],
        time_ps=time[order],
        request=request[order],
        value=np.concatenate([log.value for log in logs])[order],
    )
