"""Ethernet (or InfiniBand) of two tiers: leaf switches below spine switches."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tapeout.fabric.lane import Lane
from tapeout.fabric.switch import Switch
from tapeout.numerics import Floats

SPINE_HOPS = 3.0  # leaf, spine, leaf: three switches passed where a leaf is one


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafSpine:
    """Ports of a leaf reach one another at full rate, other leaves at 1/oversubscription.

    Attributes
    ----------
    lane : Lane
        Port of one chip.
    ports_per_leaf : int
        Chips on one leaf switch.
    oversubscription : float
        Rate down over rate up of a leaf; 1 for a fabric that never blocks.

    Notes
    -----
    All flows of a group wider than a leaf are taken to go up, as with rails that many groups
    share at a time; a lone ring laid out leaf by leaf would cross each uplink once and be faster.
    """

    lane: Lane
    ports_per_leaf: int
    oversubscription: float = 1.0

    def _switch(self, ranks: int) -> Switch:
        if ranks <= self.ports_per_leaf:
            return Switch(lane=self.lane, direct=False)
        lane = replace(
            self.lane,
            bytes_per_s=self.lane.bytes_per_s / self.oversubscription,
            latency_s=self.lane.latency_s * SPINE_HOPS,
        )
        return Switch(lane=lane, direct=False)

    def all_reduce_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Ring at the rate of the tier that the ranks need."""
        return self._switch(ranks).all_reduce_s(message_bytes, ranks)

    def all_gather_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Ring at the rate of the tier that the ranks need."""
        return self._switch(ranks).all_gather_s(message_bytes, ranks)

    def reduce_scatter_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """As all-gather, in reverse."""
        return self._switch(ranks).reduce_scatter_s(message_bytes, ranks)

    def all_to_all_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """`a + (n-1)/n S/B` at the rate of the tier that the ranks need."""
        return self._switch(ranks).all_to_all_s(message_bytes, ranks)

    def send_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """`a + S/B` at the rate of the tier that the ranks need."""
        return self._switch(ranks).send_s(message_bytes, ranks)
