"""When requests are sent, when a scheduler can see them, and to which rank they go."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush

from tapeout.serving.engine.job import Job
from tapeout.serving.engine.types import PS_PER_S

REFRESH_PS = PS_PER_S // 10  # vLLM's coordinator publishes the counts of its ranks every 100 ms
WAITING_WEIGHT = 4  # of a waiting request against a running one, in vLLM's balancer


class Arrivals:
    """Requests that were sent and that no scheduler has seen yet.

    Attributes
    ----------
    sent_ps : list of int
        When each request was sent; of one that was not yet, its earliest time.
    """

    __slots__ = (
        "_children",
        "_host",
        "_in_flight",
        "_next",
        "_ready",
        "_rejected",
        "_think",
        "sent_ps",
    )

    def __init__(self, job: Job) -> None:
        self.sent_ps: list[int] = job.arrival_ps.tolist()
        self._in_flight = job.in_flight
        self._host: list[int] = job.host_ps.tolist()
        self._think: list[int] = job.think_ps.tolist()
        self._rejected: list[int] = job.rejected.tolist()
        self._ready: list[tuple[int, int]] = []
        self._next = 0  # first request that a closed loop has not sent
        self._children: list[list[int]] = [[] for _ in self.sent_ps]
        if job.in_flight:
            self._start_loop()
        else:
            self._start(job.parent.tolist())

    @property
    def next_ps(self) -> int | None:
        """When the next request becomes ready; None where none is on its way."""
        return self._ready[0][0] if self._ready else None

    def pop(self) -> tuple[int, int]:
        """Time and place of the next request that becomes ready."""
        return heappop(self._ready)

    def ended(self, request: int, time_ps: int) -> None:
        """Send what waited for the end of a request."""
        for turn, turn_ps in self._turns(request, time_ps):
            self._send(turn, turn_ps)
        following = self._take_next() if self._in_flight else None
        if following is not None:
            self._send(following, time_ps + self._think[following])

    def _start(self, parents: list[int]) -> None:
        for request, parent in enumerate(parents):
            if parent >= 0:
                self._children[parent].append(request)
        for request, parent in enumerate(parents):
            if parent < 0:
                self._send(request, self.sent_ps[request])

    def _start_loop(self) -> None:
        for _ in range(self._in_flight):
            request = self._take_next()
            if request is not None:
                self._send(request, 0)

    def _send(self, request: int, time_ps: int) -> None:
        """Send a request; one that is rejected ends at once, and the turns after it are sent."""
        sending = [(request, time_ps)]
        while sending:
            request, time_ps = sending.pop()
            self.sent_ps[request] = time_ps
            if self._rejected[request]:
                sending += self._turns(request, time_ps)
            else:
                heappush(self._ready, (time_ps + self._host[request], request))

    def _turns(self, parent: int, end_ps: int) -> list[tuple[int, int]]:
        """Requests that wait for the end of this one, and when they are sent."""
        return [
            (turn, max(self.sent_ps[turn], end_ps + self._think[turn]))
            for turn in self._children[parent]
        ]

    def _take_next(self) -> int | None:
        """Next request of a closed loop; None where none is left."""
        for request in range(self._next, len(self._rejected)):
            if not self._rejected[request]:
                self._next = request + 1
                return request
        return None


class Balancer:
    """Least loaded rank as of the last refresh (vLLM's internal data-parallel balancer).

    Parameters
    ----------
    ranks : int
    """

    __slots__ = ("_loads", "_refreshes", "_start")

    def __init__(self, ranks: int) -> None:
        self._loads = [0] * ranks
        self._refreshes = 0
        self._start = 0

    def refresh(self, time_ps: int, queues: Iterable[tuple[int, int]]) -> None:
        """Take the state before what happens at a time, if a refresh is due by then.

        Parameters
        ----------
        time_ps : int
        queues : iterable of (waiting, running)
            Of each rank.
        """
        if time_ps // REFRESH_PS > self._refreshes:
            self._refreshes = time_ps // REFRESH_PS
            self._loads = [WAITING_WEIGHT * waiting + running for waiting, running in queues]

    def choose(self) -> int:
        """Rank for the next request."""
        ranks = len(self._loads)
        order = [(self._start + i) % ranks for i in range(ranks)]
        rank = min(order, key=self._loads.__getitem__)
        self._loads[rank] += WAITING_WEIGHT
        self._start = (self._start + 1) % ranks
        return rank
