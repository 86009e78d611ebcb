"""A collective as the best of the routes a library has: protocols of a ring, one shot, the switch.

A library such as NCCL carries one message in one of several ways: with flags in every word
(low latency, low rate), with flags in every line, or in whole chunks (high latency, full rate);
around a ring, by one or two shots of direct reads, or summed in the switch. Each way costs

    t = base + hop (n - 1)^q + volume(n, S) / (f B (4 / min(n, n_most))^r),

the first two terms being its start and its synchronised steps, and the library takes the
cheapest. Its choice is not perfect and messages near a change pay for it: the ways are joined by
`(sum t^-p)^(-1/p)`, which is below the cheapest by at most the factor `ways^(-1/p)`.

`q` is 1 for a ring, near 0.6 for a tree over 2 to 8 ranks (log2 n is 1, 2, 3 and 3^0.6, 7^0.6 are
1.9, 3.2), and `r` is the measured change of rate with ranks: more rings fit around a larger switch.
Volumes are those of table 2.3 of R. Thakur, R. Rabenseifner, W. Gropp, "Optimization of Collective
Communication Operations in MPICH", 2005, and of in-switch reduction (B. Klenk et al., "An
In-Network Architecture for Accelerating Shared-Memory Multiprocessor Collectives", ISCA 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import UnknownNameError
from tapeout.fabric.topology import Collective
from tapeout.numerics import Floats

PIVOT_RANKS = 4.0  # where the rate of a route is quoted; the middle of 2, 4, 8
SHARPNESS = 8.0  # chosen among 2, 4 and 8 by the folds of the fit part


class Volume(StrEnum):
    """How many bytes one chip sends over its links on a route."""

    RING = "ring"  # each byte once in an all-gather, twice in an all-reduce
    ONE_SHOT = "one_shot"  # every rank reads the whole buffer of every other
    IN_SWITCH = "in_switch"  # the switch adds: up once, down once, overlapped


def sent_bytes(
    volume: Volume, operation: str, message_bytes: Floats, ranks: float | Floats
) -> Floats:
    """Bytes a chip sends, shape of `message_bytes` (that of `ranks` where it is an array).

    Examples
    --------
    >>> float(sent_bytes(Volume.RING, "all_reduce", 8.0, 4))
    12.0
    >>> float(sent_bytes(Volume.ONE_SHOT, "all_reduce", 8.0, 4))
    24.0
    """
    size = np.asarray(message_bytes, dtype=float)
    n = np.asarray(ranks, dtype=float)
    if operation == Collective.SEND:
        return np.asarray(size * np.ones_like(n))
    if volume is Volume.IN_SWITCH:
        return np.asarray(size * (1.0 + 1.0 / n))
    if volume is Volume.ONE_SHOT:
        return np.asarray(size * (n - 1.0))
    times = 2.0 if operation == Collective.ALL_REDUCE else 1.0
    return np.asarray(times * size * (n - 1.0) / n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way to carry a collective.

    Attributes
    ----------
    base_s : float
        Start and end of the operation. [s]
    hop_s : float
        Time of one synchronised step. [s]
    rate_fraction : float
        Share of the link rate that is sustained between four ranks.
    volume : Volume
    from_ranks : int
        Fewer ranks than this do not use the route.
    """

    base_s: float
    hop_s: float
    rate_fraction: float
    volume: Volume = Volume.RING
    from_ranks: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteLaw:
    """Time of one operation of a library.

    Attributes
    ----------
    routes : tuple of Route
    step_exponent : float
        q: how the number of steps grows with n - 1.
    rate_exponent : float
        r: how the rate of ring routes falls with n; the volume in the switch has none.
    most_ranks : float
        Ranks above which the rate no longer changes: the largest number measured.
    sharpness : float
        p of the smooth minimum.
    """

    routes: tuple[Route, ...]
    step_exponent: float = 1.0
    rate_exponent: float = 0.0
    most_ranks: float = 8.0
    sharpness: float = SHARPNESS

    def time_s(
        self,
        operation: str,
        message_bytes: Floats,
        ranks: float | Floats,
        bytes_per_s: float,
        *,
        adds: bool | NDArray[np.bool_] = True,
    ) -> Floats:
        """Time of a collective [s]; no time with one rank.

        Parameters
        ----------
        operation : str
            A member of `Collective`.
        message_bytes : array
            [B]
        ranks : float or array
            Broadcast against the messages.
        bytes_per_s : float
            Rate of the links of one chip, one direction. [B/s]
        adds : bool or array
            False where the switch cannot add the number format: it adds floating point only.
        """
        n = np.asarray(ranks, dtype=float)
        steps = np.maximum(n - 1.0, 0.0) ** self.step_exponent
        spread = (PIVOT_RANKS / np.clip(n, 2.0, self.most_ranks)) ** self.rate_exponent
        inverse = np.zeros(np.broadcast_shapes(np.shape(message_bytes), n.shape))
        for route in self.routes:
            scale = 1.0 if route.volume is Volume.IN_SWITCH else spread
            rate = route.rate_fraction * bytes_per_s * scale
            moved = sent_bytes(route.volume, operation, message_bytes, n)
            time = route.base_s + route.hop_s * steps + moved / rate
            open_to = n >= route.from_ranks
            if route.volume is Volume.IN_SWITCH:
                open_to = open_to & adds
            inverse = inverse + np.where(open_to, time, np.inf) ** -self.sharpness
        alone = n <= 1.0
        return np.where(alone, 0.0, np.where(alone, 1.0, inverse) ** (-1.0 / self.sharpness))

    def without_adding(self) -> RouteLaw:
        """Law of a number format that the switch cannot add."""
        kept = tuple(one for one in self.routes if one.volume is not Volume.IN_SWITCH)
        return replace(self, routes=kept)


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """A switch as a general library (NCCL, RCCL, oneCCL) drives it: a `Topology`.

    Attributes
    ----------
    bytes_per_s : float
        Rate of the links of one chip, one direction. [B/s]
    laws : mapping of operation to RouteLaw
        A send without a law of its own is the step of an all-gather between two ranks, in which
        a rank sends half of the gathered size.
    """

    bytes_per_s: float
    laws: Mapping[str, RouteLaw]

    def _time_s(self, operation: str, message_bytes: Floats, ranks: int) -> Floats:
        if operation not in self.laws:
            raise UnknownNameError("collective of this library", operation, self.laws)
        size = np.asarray(message_bytes, dtype=float)
        return self.laws[operation].time_s(operation, size, ranks, self.bytes_per_s)

    def all_reduce_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Sum a buffer over all ranks."""
        return self._time_s(Collective.ALL_REDUCE, message_bytes, ranks)

    def all_gather_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Collect one part from every rank."""
        return self._time_s(Collective.ALL_GATHER, message_bytes, ranks)

    def reduce_scatter_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Sum a buffer, one part of the result for every rank."""
        return self._time_s(Collective.REDUCE_SCATTER, message_bytes, ranks)

    def all_to_all_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Send an equal part to every rank."""
        return self._time_s(Collective.ALL_TO_ALL, message_bytes, ranks)

    def send_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Send to one other rank."""
        if Collective.SEND.value in self.laws or ranks < 2:
            return self._time_s(Collective.SEND, message_bytes, ranks)
        gathered = 2.0 * np.asarray(message_bytes, dtype=float)
        return self._time_s(Collective.ALL_GATHER, gathered, 2)
