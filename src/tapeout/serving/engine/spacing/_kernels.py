"""Compiled count of the gaps between tokens of a request.

`gaps.py` has the bins and the same count in plain Python. What a request makes once more after a
failure was given to its client before: it counts only from the first token that is new.
"""

from __future__ import annotations

from tapeout.serving.compiling._kernels import inlined, kernel
from tapeout.serving.engine import state as s
from tapeout.serving.engine.state import Core, Record


@kernel
def bin_of(gap: int) -> int:
    """Bin of a gap; the width of its number is found by halving, so that no rounding comes in."""
    shift, rest = 0, gap >> s.GAP_DIGITS
    for half in (32, 16, 8, 4, 2, 1):
        if rest >> half > 0:
            rest >>= half
            shift += half
    return (shift << s.GAP_DIGITS) + (gap >> shift)


@kernel
def space(c: Core, w: Record, rank: int, which: int, now: int) -> None:
    """Count the gaps that a batch ends; tokens of one request that come together are one chunk."""
    r, gaps = c.r, w.gaps
    newest, given, most = r[s.NEWEST], r[s.GIVEN], r[s.GIVEN_MOST]
    requests, emitted = c.e[s.E_REQUEST, rank, which], c.e[s.E_EMITTED, rank, which]
    counted, known, place = now >= w.counts[s.GAPS_FROM], -1, 0
    for at in range(c.k[s.COUNT + which, rank]):
        one = requests[at]
        given[one] += emitted[at]
        if emitted[at] == 0 or given[one] <= most[one]:
            continue
        if counted and newest[one] >= 0:
            if now - newest[one] != known:  # most have the gap of the one before them
                known = now - newest[one]
                place = bin_of(known)
            gaps[place] += 1
        newest[one] = now


@inlined
def giving(c: Core, rank: int, steps: int) -> tuple[int, int]:
    """Running requests whose next tokens are new, and for how many steps their number stays."""
    given, most = c.r[s.GIVEN], c.r[s.GIVEN_MOST]
    count = 0
    for place in range(c.k[s.LENGTH, rank]):
        again = most[c.running[rank, place]] - given[c.running[rank, place]]
        if again > 0:
            steps = min(steps, again)
        else:
            count += 1
    return count, steps


@inlined
def space_jump(c: Core, w: Record, rank: int, steps: int, begin: int, end: int) -> None:
    """Count the gaps that the first step of a jump ends, and take in the tokens of all."""
    r, gaps = c.r, w.gaps
    newest, given, most = r[s.NEWEST], r[s.GIVEN], r[s.GIVEN_MOST]
    counted, known, bin_ = begin >= w.counts[s.GAPS_FROM], -1, 0
    for place in range(c.k[s.LENGTH, rank]):
        one = c.running[rank, place]
        fresh = given[one] >= most[one]
        given[one] += steps
        if not fresh:
            continue
        if counted and newest[one] >= 0:
            if begin - newest[one] != known:
                known = begin - newest[one]
                bin_ = bin_of(known)
            gaps[bin_] += 1
        newest[one] = end
