"""Chips on a ring or a torus of two or three dimensions (ICI, NeuronLink)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.fabric.lane import Lane
from tapeout.numerics import Floats


def sides(ranks: int, dimensions: int) -> tuple[int, ...]:
    """Split ranks into sides as equal as their factors allow, longest first.

    Examples
    --------
    >>> sides(64, 3), sides(8, 2), sides(7, 2)
    ((4, 4, 4), (4, 2), (7, 1))
    """
    if dimensions == 1:
        return (ranks,)
    target = ranks ** (1.0 / dimensions)
    smallest = max(d for d in range(1, int(target + 1e-9) + 1) if ranks % d == 0)
    shape = (*sides(ranks // smallest, dimensions - 1), smallest)
    return tuple(sorted(shape, reverse=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Torus:
    """Two links a dimension and chip, with wrap-around; one dimension is a ring.

    `lane.bytes_per_s` is the sum over all 2D links of a chip, so one link has B/(2D). A slice
    smaller than the machine is taken to be wrapped around as well, which favours small slices.
    """

    lane: Lane
    dimensions: int = 1

    def _used(self, ranks: int) -> float:
        """Share of a chip's links that lie along an axis longer than one chip."""
        return max(1, sum(side > 1 for side in sides(ranks, self.dimensions))) / self.dimensions

    def _hops(self, ranks: int) -> int:
        """Phases of a reduce-scatter along every axis in turn."""
        return sum(side - 1 for side in sides(ranks, self.dimensions))

    def all_reduce_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """`2 D (m-1) a + 2(n-1)/n S/(2 D B_l)`: D chunks rotated over the axes."""
        size = np.asarray(message_bytes, dtype=float)
        moved = self.lane.transfer_s(2.0 * (ranks - 1) / ranks / self._used(ranks) * size, size)
        return 2.0 * self._hops(ranks) * self.lane.latency_s + moved

    def all_gather_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """`D (m-1) a + (n-1)/n S/(2 D B_l)`."""
        size = np.asarray(message_bytes, dtype=float)
        moved = self.lane.transfer_s((ranks - 1) / ranks / self._used(ranks) * size, size)
        return self._hops(ranks) * self.lane.latency_s + moved

    def reduce_scatter_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """As all-gather, in reverse."""
        return self.all_gather_s(message_bytes, ranks)

    def all_to_all_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """`m S/(8 B_l) + (D m/4) a`: the bisection across the longest side is the limit."""
        size = np.asarray(message_bytes, dtype=float)
        if ranks == 1:
            return np.zeros_like(size)
        shape = sides(ranks, self.dimensions)
        crossing = max(shape) * 2.0 * self.dimensions / 8.0
        injected = (ranks - 1) / ranks / self._used(ranks)  # never faster than the chip can send
        moved = self.lane.transfer_s(max(crossing, injected) * size, size)
        return sum(shape) / 4.0 * self.lane.latency_s + moved

    def send_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Mean hops x a + S/B_l: one message takes one link."""
        size = np.asarray(message_bytes, dtype=float)
        if ranks == 1:
            return np.zeros_like(size)
        hops = max(1.0, sum(sides(ranks, self.dimensions)) / 4.0)
        moved = self.lane.transfer_s(2.0 * self.dimensions * size, size)
        return hops * self.lane.latency_s + moved
