"""Compiled heap of arrivals that ends have caused: by time, then place in the trace."""

from __future__ import annotations

from tapeout.serving.compiling._kernels import kernel
from tapeout.serving.engine import state as s
from tapeout.serving.engine.state import Record


@kernel
def push(w: Record, time: int, request: int) -> None:
    """Put an arrival that an end has caused into the heap."""
    counts, heap = w.counts, w.heap
    at = counts[s.HEAP]
    counts[s.HEAP] += 1
    while at > 0:
        up = (at - 1) // 2
        other = heap[0, up]
        if other < time or (other == time and heap[1, up] < request):
            break
        heap[0, at], heap[1, at] = other, heap[1, up]
        at = up
    heap[0, at], heap[1, at] = time, request


@kernel
def pop(w: Record) -> int:
    """Take the earliest arrival out of the heap."""
    counts, heap = w.counts, w.heap
    taken = heap[1, 0]
    size = counts[s.HEAP] - 1
    counts[s.HEAP] = size
    time, request = heap[0, size], heap[1, size]
    at = 0
    while 2 * at + 1 < size:
        down = 2 * at + 1
        if down + 1 < size:
            a, b = heap[0, down], heap[0, down + 1]
            if b < a or (a == b and heap[1, down + 1] < heap[1, down]):
                down += 1
        other = heap[0, down]
        if time < other or (time == other and request < heap[1, down]):
            break
        heap[0, at], heap[1, at] = other, heap[1, down]
        at = down
    heap[0, at], heap[1, at] = time, request
    return int(taken)
