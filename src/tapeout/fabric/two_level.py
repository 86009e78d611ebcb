"""Domains of chips behind a slower network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.fabric.topology import Topology
from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoLevel:
    """g chips a domain on `inner`, domains joined by `outer` (rate per chip).

    The phases follow one another; nothing overlaps. Ranks that fit one domain stay inside it;
    otherwise the number of domains is rounded up.
    """

    inner: Topology
    outer: Topology
    chips_per_domain: int

    def _split(self, ranks: int) -> tuple[int, int]:
        """Ranks inside a domain, and domains."""
        inside = min(ranks, self.chips_per_domain)
        return inside, -(-ranks // inside)

    def all_reduce_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Reduce-scatter inside, all-reduce of S/g across, all-gather inside."""
        size = np.asarray(message_bytes, dtype=float)
        inside, domains = self._split(ranks)
        if domains == 1:
            return self.inner.all_reduce_s(size, inside)
        return (
            self.inner.reduce_scatter_s(size, inside)
            + self.outer.all_reduce_s(size / inside, domains)
            + self.inner.all_gather_s(size, inside)
        )

    def all_gather_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Gather S/g across, then S inside."""
        size = np.asarray(message_bytes, dtype=float)
        inside, domains = self._split(ranks)
        across = self.outer.all_gather_s(size / inside, domains)
        return across + self.inner.all_gather_s(size, inside)

    def reduce_scatter_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """As all-gather, in reverse."""
        size = np.asarray(message_bytes, dtype=float)
        inside, domains = self._split(ranks)
        across = self.outer.reduce_scatter_s(size / inside, domains)
        return across + self.inner.reduce_scatter_s(size, inside)

    def all_to_all_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Send what leaves the domain across, then deliver everything inside."""
        size = np.asarray(message_bytes, dtype=float)
        inside, domains = self._split(ranks)
        across = self.outer.all_to_all_s(size, domains)
        return across + self.inner.all_to_all_s(size, inside)

    def send_s(self, message_bytes: Floats, ranks: int) -> Floats:
        """Across when the ranks do not fit one domain, else inside."""
        inside, domains = self._split(ranks)
        if domains == 1:
            return self.inner.send_s(message_bytes, inside)
        return self.outer.send_s(message_bytes, domains)
