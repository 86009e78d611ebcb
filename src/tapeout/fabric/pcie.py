"""Cards on PCIe: every byte between two of them passes a root that they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.fabric.lane import Lane
from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class PcieRoot:
    """Cards below one root complex.

    Attributes
    ----------
    lane : Lane
        One card and direction.
    root_bytes_per_s : float
        What the root forwards for all cards together, one direction. [B/s]
    through_host : bool
        No peer-to-peer: a message is written to host memory and read from there, so it crosses
        the root twice and takes two phases.
    """

    lane: Lane
    root_bytes_per_s: float
    through_host: bool = False

    def _moved_s(self, sent: Floats, size: Floats, senders: int) -> Floats:
        """Slower of a card's own link and the root, which all senders share."""
        copies = 2.0 if self.through_host else 1.0
        share = copies * senders * self.lane.bytes_per_s / self.root_bytes_per_s
        # Through the host a card's own link carries the message out, then another's carries it in.
        return max(copies, share) * self.lane.transfer_s(sent, size)

    def _phase_s(self) -> float:
        return self.lane.latency_s * (2.0 if self.through_host else 1.0)

    def all_reduce_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """`2(n-1) a + 2(n-1)/n S max(1/B, n/B_root)`, phases and bytes doubled through the host."""
        size = np.asarray(message_bytes, dtype=float)
        moved = self._moved_s(2.0 * (ranks - 1) / ranks * size, size, ranks)
        return 2.0 * (ranks - 1) * self._phase_s() + moved

    def all_gather_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """`(n-1) a + (n-1)/n S max(1/B, n/B_root)`."""
        size = np.asarray(message_bytes, dtype=float)
        moved = self._moved_s((ranks - 1) / ranks * size, size, ranks)
        return (ranks - 1) * self._phase_s() + moved

    def reduce_scatter_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """As all-gather, in reverse."""
        return self.all_gather_s(message_bytes, ranks)

    def all_to_all_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """As all-gather: n-1 messages a rank, each of S/n."""
        return self.all_gather_s(message_bytes, ranks)

    def send_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """`a + S/B` with the root to itself."""
        size = np.asarray(message_bytes, dtype=float)
        if ranks == 1:
            return np.zeros_like(size)
        return self._phase_s() + self._moved_s(size, size, 1)
