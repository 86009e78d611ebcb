"""Chips wired pairwise, without a switch (eight MI300-class packages on Infinity Fabric)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.fabric.lane import Lane
from tapeout.fabric.switch import Switch
from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class FullMesh:
    """One link to every other chip: a group of few can use only the links among its members.

    Attributes
    ----------
    lane : Lane
        `bytes_per_s` is the sum over all links of a chip.
    chips : int
        Chips of the mesh; each has chips - 1 links.
    """

    lane: Lane
    chips: int

    def _among(self, ranks: int) -> Switch:
        """Switch with the rate of the n - 1 links among the ranks.

        Every algorithm of a switch maps on it: shots go to all peers at once, and a ring library
        lays n - 1 rings over the links.
        """
        if ranks > self.chips:
            raise InfeasibleError(f"{ranks} ranks on a full mesh of {self.chips} chips")
        share = (max(ranks, 2) - 1) / (self.chips - 1)
        lane = replace(self.lane, bytes_per_s=self.lane.bytes_per_s * share)
        return Switch(lane=lane)

    def all_reduce_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """As a switch at (n-1)/(N-1) of the rate."""
        return self._among(ranks).all_reduce_s(message_bytes, ranks)

    def all_gather_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """As a switch at (n-1)/(N-1) of the rate."""
        return self._among(ranks).all_gather_s(message_bytes, ranks)

    def reduce_scatter_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """As all-gather, in reverse."""
        return self._among(ranks).reduce_scatter_s(message_bytes, ranks)

    def all_to_all_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """As a switch at (n-1)/(N-1) of the rate: every pair has its own link."""
        return self._among(ranks).all_to_all_s(message_bytes, ranks)

    def send_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """`a + S/B_l`: one message takes the one link to its receiver."""
        size = np.asarray(message_bytes, dtype=float)
        if ranks == 1:
            return np.zeros_like(size)
        return self.lane.latency_s + self.lane.transfer_s((self.chips - 1) * size, size)
