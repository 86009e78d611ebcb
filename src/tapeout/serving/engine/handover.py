"""Which replica a request goes to, and when its keys have moved there."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from heapq import heappop, heappush

import numpy as np

from tapeout.numerics import Floats, Ints

LATENCY_S = 1e-3
"""Assumption: hand-over of a request and the first byte of its keys, where nothing is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How keys get from a prefill to a decode replica.

    Attributes
    ----------
    fixed_s, token_s : float
        A transfer of n tokens takes `fixed_s + n token_s` on links of its own, latency apart; fixed
        are states that do not grow. [s]
    latency_s : float
        Between the last key and the decode replica's knowing of it. [s]
    layers : int
    layered : bool
        Layers are sent as they are computed; else all after the prompt.
    """

    token_s: float
    fixed_s: float = 0.0
    latency_s: float = LATENCY_S
    layers: int = 1
    layered: bool = False

    def time_s(self, tokens: Ints) -> Floats:
        """Time on the wire, shape of tokens. [s]."""
        found: Floats = self.fixed_s + self.token_s * tokens.astype(float)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Links of all replicas; each carries one transfer after another.

    Attributes
    ----------
    link : Link
    ranks : (int, int)
        Data-parallel ranks of a prefill and a decode replica, each with links of its own: a
        transfer takes its own time, and keeps the replica's links busy for its share of them.
    """

    link: Link
    ranks: tuple[int, int]
    free_s: dict[tuple[str, int], float] = field(default_factory=lambda: defaultdict(float))

    def send(
        self, sender: int, receiver: int, tokens: int, prompt_s: tuple[float, float]
    ) -> tuple[float, float]:
        """Send the keys of a prompt.

        Parameters
        ----------
        sender, receiver : int
            Replicas.
        tokens : int
        prompt_s : (float, float)
            First step and end of the prompt. [s]

        Returns
        -------
        (float, float)
            When the first byte leaves, and when the receiver knows of the last. [s]
        """
        begin, end = prompt_s
        layer = 1.0 / self.link.layers
        ready = begin + (end - begin) * layer if self.link.layered else end
        ends = (("sender", sender), ("receiver", receiver))
        wire_s = self.link.fixed_s + self.link.token_s * tokens
        start = max(ready, *(self.free_s[one] for one in ends))
        done = start + wire_s
        if self.link.layered:
            done = max(done, end + wire_s * layer)  # the last layer is computed last
        for one, ranks in zip(ends, self.ranks, strict=True):
            self.free_s[one] = start + (done - start) / ranks
        return start, done + self.link.latency_s


def assigned(ready_s: Floats, work_s: Floats, replicas: int, *, least: bool, serial: bool) -> Ints:
    """Replica of every request, in order of time.

    Parameters
    ----------
    ready_s : array, shape (request,)
        When it is sent; ascending. [s]
    work_s : array, shape (request,)
        How long it is expected to take. [s]
    replicas : int
    least : bool
        To the one expected to have fewest of those sent before, the first of equal ones from a
        start that moves by one; else by turns.
    serial : bool
        A replica works on one after another; else on all at once.

    Examples
    --------
    >>> assigned(np.array([0.0, 0.1, 0.2]), np.array([9.0, 0.05, 1.0]), 2, least=True, serial=True)
    array([0, 1, 1])
    """
    count = ready_s.size
    if not least or replicas == 1:
        return np.arange(count) % replicas
    ends: list[list[float]] = [[] for _ in range(replicas)]
    last = [0.0] * replicas
    found = np.empty(count, np.int64)
    for place, (now, work) in enumerate(zip(ready_s.tolist(), work_s.tolist(), strict=True)):
        for held in ends:
            while held and held[0] <= now:
                heappop(held)
        order = [(place + turn) % replicas for turn in range(replicas)]
        chosen = min(order, key=lambda one: len(ends[one]))
        last[chosen] = max(now, last[chosen]) + work if serial else now + work
        heappush(ends[chosen], last[chosen])
        found[place] = chosen
    return found
