"""Chips on a switch (NVLink/NVSwitch, full mesh, one-tier Ethernet)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.fabric.lane import Lane
from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Switch:
    """Every chip reaches every other in one hop at its full rate.

    Attributes
    ----------
    lane : Lane
    direct : bool
        True: one- and two-shot algorithms (custom kernels of the engines), phases of one latency.
        False: the ring of a general library, a latency a neighbour.
    in_switch_reduction : bool
        The switch adds (SHARP, NVLS): data crosses a link about once.
    message_s : float
        Least time between two messages of a chip; n - 1 of them leave in an all-to-all. [s]
    """

    lane: Lane
    direct: bool = True
    in_switch_reduction: bool = False
    message_s: float = 0.0

    def all_reduce_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Take the fastest of the algorithms on offer.

        ring `2(n-1)a + 2(n-1)/n S/B`, one-shot `a + (n-1)S/B`, two-shot `2a + 2(n-1)/n S/B`,
        in the switch `2a + S(1+1/n)/B`.
        """
        size = np.asarray(message_bytes, dtype=float)
        if ranks == 1:
            return np.zeros_like(size)
        a = self.lane.latency_s
        both = self.lane.transfer_s(2.0 * (ranks - 1) / ranks * size, size)
        if not self.direct:
            best = 2.0 * (ranks - 1) * a + both
        else:
            one_shot = a + self.lane.transfer_s((ranks - 1) * size, size)
            best = np.minimum(one_shot, 2.0 * a + both)
        if self.in_switch_reduction:
            inside = 2.0 * a + self.lane.transfer_s((1.0 + 1.0 / ranks) * size, size)
            best = np.minimum(best, inside)
        return best

    def all_gather_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """`a + (n-1)/n S/B`; the library ring pays a latency a neighbour."""
        size = np.asarray(message_bytes, dtype=float)
        if ranks == 1:
            return np.zeros_like(size)
        phases = 1 if self.direct else ranks - 1
        moved = self.lane.transfer_s((ranks - 1) / ranks * size, size)
        return phases * self.lane.latency_s + moved

    def reduce_scatter_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """As all-gather, in reverse."""
        return self.all_gather_s(message_bytes, ranks)

    def all_to_all_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """`a + max((n-1)/n S/B, (n-1) t_message)`: small messages are bound by their number."""
        size = np.asarray(message_bytes, dtype=float)
        if ranks == 1:
            return np.zeros_like(size)
        moved = self.lane.transfer_s((ranks - 1) / ranks * size, size)
        return self.lane.latency_s + np.maximum(moved, (ranks - 1) * self.message_s)

    def send_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """`a + S/B`."""
        size = np.asarray(message_bytes, dtype=float)
        if ranks == 1:
            return np.zeros_like(size)
        return self.lane.latency_s + self.lane.transfer_s(size, size)
