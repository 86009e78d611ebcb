"""What single requests were doing when: waiting, reading their prompt, decoding, preempted.

With the log of a run every phase is exact. Without it the waiting after preemptions has a length
but no place, and a request is shown as decoding meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tapeout.serving.engine.types import PS_PER_S, Event, Log, RequestTable, Simulation

QUEUE, PREFILL, DECODE, PREEMPTED = "queue", "prefill", "decode", "preempted"
PHASES = (QUEUE, PREFILL, DECODE, PREEMPTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One request doing one thing. Resumed after a preemption it is in the phase it was in.

    Attributes
    ----------
    request : int
        Place in the trace.
    name : str
        queue, prefill, decode or preempted.
    start_s, end_s : float
        [s]
    """

    request: int
    name: str
    start_s: float
    end_s: float


def phases(simulation: Simulation, chosen: Sequence[int]) -> tuple[Phase, ...]:
    """Phases of some requests, in the order of the requests and of time.

    Parameters
    ----------
    simulation : Simulation
    chosen : sequence of int
        Places in the trace; those that were rejected have no phases.
    """
    requests = simulation.requests
    marks = _marks(simulation.log, chosen) if simulation.log is not None else {}
    found: list[Phase] = []
    for one in chosen:
        if not requests.rejected[one] and np.isfinite(requests.scheduled_s[one]):
            found += _of(requests, int(one), marks.get(int(one), []))
    return tuple(phase for phase in found if phase.end_s > phase.start_s)


def _marks(log: Log, chosen: Sequence[int]) -> dict[int, list[tuple[Event, float]]]:
    """Events of the chosen requests in order of time."""
    own = np.flatnonzero(np.isin(log.request, np.asarray(chosen, np.int64)))
    found: dict[int, list[tuple[Event, float]]] = {}
    for place in own:
        event = (Event(int(log.kind[place])), float(log.time_ps[place]) / PS_PER_S)
        found.setdefault(int(log.request[place]), []).append(event)
    return found


def _of(requests: RequestTable, one: int, marks: list[tuple[Event, float]]) -> Iterator[Phase]:
    """Phases of one request, from its marks where there are any."""
    arrival, scheduled = float(requests.arrival_s[one]), float(requests.scheduled_s[one])
    first, last = float(requests.first_token_s[one]), float(requests.last_token_s[one])
    if not marks:
        marks = [(Event.ADMIT, scheduled), (Event.FIRST, first), (Event.FINISH, last)]
    name, working, since = QUEUE, PREFILL, arrival
    for event, time_s in marks:
        if not np.isfinite(time_s):
            return
        yield Phase(request=one, name=name, start_s=since, end_s=time_s)
        since = time_s
        if event is Event.FINISH:
            return
        if event is Event.FIRST:
            working = DECODE
        name = PREEMPTED if event is Event.PREEMPT else working


def order_of(requests: RequestTable, most: int) -> tuple[int, ...]:
    """The first requests that were served, in order of arrival.

    Parameters
    ----------
    requests : RequestTable
    most : int
    """
    served = np.flatnonzero(np.isfinite(requests.scheduled_s))
    ordered = served[np.argsort(requests.arrival_s[served], kind="stable")]
    return tuple(int(one) for one in ordered[:most])
