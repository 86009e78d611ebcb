"""Histogram of the gaps between tokens: whole picoseconds in bins that widen with the gap.

A bin is found by shifting bits, not with a logarithm: every engine puts a gap into the same one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tapeout.constants import PERCENT, PICO
from tapeout.numerics import Floats, Ints
from tapeout.serving.engine.state import GAP_BINS as BINS
from tapeout.serving.engine.state import GAP_DIGITS as DIGITS


def bin_of(gap_ps: int) -> int:
    """Bin of a gap; below 512 ps every gap has its own.

    Examples
    --------
    >>> bin_of(511), bin_of(512), bin_of(513), bin_of(514)
    (511, 512, 512, 513)
    """
    shift = max(gap_ps.bit_length() - DIGITS - 1, 0)
    return (shift << DIGITS) + (gap_ps >> shift)


def bin_starts_ps() -> Ints:
    """Smallest gap of every bin, shape (BINS,). [ps]."""
    bins = np.arange(BINS, dtype=np.int64)
    shift = np.maximum((bins >> DIGITS) - 1, 0)
    starts: Ints = (bins - (shift << DIGITS)) << shift
    return starts


def bin_middles_ps() -> Floats:
    """Mean of the whole numbers of every bin, shape (BINS,). [ps]."""
    shift = np.maximum((np.arange(BINS, dtype=np.int64) >> DIGITS) - 1, 0)
    middles: Floats = bin_starts_ps() + ((np.int64(1) << shift) - 1) / 2
    return middles


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """Gaps between successive tokens of a request, pooled over requests.

    Attributes
    ----------
    counts : array of int, shape (BINS,)
    """

    counts: Ints

    @property
    def total(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    @property
    def sum_s(self) -> float:
        """All of them added up, right to half a bin, 0.2 %. [s]."""
        return float(self.counts @ bin_middles_ps()) * PICO

    def percentile_s(self, percent: Floats) -> Floats:
        """Gaps that given shares do not exceed, each right to half a bin, 0.2 %. [s].

        Parameters
        ----------
        percent : array
            0 to 100; linear between ranks. [%]

        Returns
        -------
        gap_s : array, same shape
            nan where there is no gap. [s]
        """
        total = self.total
        if total == 0:
            return np.full(np.shape(percent), np.nan)
        middle_ps = bin_middles_ps()
        below = np.cumsum(self.counts)
        rank = np.asarray(percent) * PERCENT * (total - 1)
        low = np.floor(rank).astype(np.int64)
        high = np.ceil(rank).astype(np.int64)
        low_ps = middle_ps[np.searchsorted(below, low, side="right")]
        high_ps = middle_ps[np.searchsorted(below, high, side="right")]
        gap_s: Floats = (low_ps + (high_ps - low_ps) * (rank - low)) * PICO
        return gap_s

    def also(self, before_s: Floats, after_s: Floats, since_s: float = 0.0) -> Gaps:
        """With one more gap for each pair of times; nan is none, nor is one that ends too early.

        Parameters
        ----------
        before_s, after_s : arrays of one shape
            Of whole picoseconds. [s]
        since_s : float
            Gaps that end from this time on are counted. [s]

        Returns
        -------
        Gaps
        """
        here = np.isfinite(before_s) & (after_s >= since_s)
        before_ps, after_ps = (np.rint(one[here] / PICO) for one in (before_s, after_s))
        counts = self.counts.copy()
        for gap_ps in (after_ps - before_ps).astype(np.int64).tolist():
            counts[bin_of(gap_ps)] += 1
        return Gaps(counts=counts)


class GapRecord:
    """Gaps of a run as its tokens come; tokens that come together are one chunk, with one gap.

    Clients measure chunks of a stream, and so does vLLM's `bench serve`: with drafts there are
    fewer gaps than tokens. A gap goes on through a preemption.
    """

    def __init__(self, requests: int, since_ps: int = 0) -> None:
        self._newest_ps: list[int | None] = [None] * requests
        self._since_ps = since_ps
        self._counts = np.zeros(BINS, np.int64)

    def note(self, time_ps: int, request: int) -> None:
        """Take in that tokens of a request exist now; counted from `since_ps` on."""
        before_ps = self._newest_ps[request]
        if before_ps is not None and time_ps >= self._since_ps:
            self._counts[bin_of(time_ps - before_ps)] += 1
        self._newest_ps[request] = time_ps

    def gaps(self) -> Gaps:
        """Return the histogram so far."""
        return Gaps(counts=self._counts.copy())


def pooled(parts: Sequence[Gaps | None]) -> Gaps | None:
    """Gaps of several runs together; None where one of them did not count any."""
    counted = [one.counts for one in parts if one is not None]
    if not counted or len(counted) < len(parts):
        return None
    return Gaps(counts=np.sum(counted, axis=0))
