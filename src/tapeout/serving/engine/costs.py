"""What a step costs: look-ups in a `StepTable`, defined to the last bit.

Two implementations must return the same picosecond, so the order of every floating-point sum is
fixed here. Integers are added in any order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import floor
from typing import TypeVar

from tapeout.serving.engine.types import StepTable

Number = TypeVar("Number", int, float)

CORNERS = tuple(product((0, 1), repeat=4))  # p outermost, c innermost


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a step holds on one rank.

    Attributes
    ----------
    tokens : int
        All tokens, those of drafts included.
    sampled : int
        Rows that are sampled.
    sequences, keys : int
        Decoding sequences, and the keys they see together.
    prompt : int
        Prompt tokens.
    prompt_keys_twice : int
        Twice the keys that the prompt tokens see together, their own included.
    """

    tokens: int = 0
    sampled: int = 0
    sequences: int = 0
    keys: int = 0
    prompt: int = 0
    prompt_keys_twice: int = 0


IDLE = Load()


class StepCosts:
    """Time and energy of steps from the same look-ups.

    Parameters
    ----------
    table : StepTable
    """

    def __init__(self, table: StepTable) -> None:
        # Lists: reading one number from an array takes several times as long.
        self._idle_w = table.idle_w
        self._contexts: list[int] = table.contexts.tolist()
        self._axes: list[list[float]] = [
            table.prefill.tolist(),
            table.keys.tolist(),
            table.sequences.tolist(),
            [float(context) for context in self._contexts],
        ]
        self._tokens_ps: list[int] = table.tokens_ps.tolist()
        self._sampled_ps: list[int] = table.sampled_ps.tolist()
        self._shared_ps: list[int] = table.shared_ps.tolist()
        self._decode_ps: list[list[int]] = table.decode_ps.tolist()
        self._slope_ps: list[list[int]] = table.slope_ps.tolist()
        self._mixed_ps: list[list[list[list[float]]]] = table.mixed_ps.tolist()
        self._tokens_j: list[float] = table.tokens_j.tolist()
        self._sampled_j: list[float] = table.sampled_j.tolist()
        self._shared_j: list[float] = table.shared_j.tolist()
        self._decode_j: list[list[float]] = table.decode_j.tolist()
        self._mixed_j: list[list[list[list[float]]]] = table.mixed_j.tolist()

    def step_ps(self, loads: Sequence[Load]) -> int:
        """Time of a step whose ranks have these loads; at least 1. [ps]."""
        slowest = max(self.rank_ps(load) for load in loads)
        tokens = sum(load.tokens for load in loads)
        return max(1, slowest + _at(self._shared_ps, tokens))

    def step_j(self, loads: Sequence[Load]) -> float:
        """Energy of a step whose ranks have these loads. [J]."""
        tokens = sum(load.tokens for load in loads)
        return sum(self.rank_j(load) for load in loads) + _at(self._shared_j, tokens)

    def idle_j(self, time_s: float) -> float:
        """Energy of a time in which no step runs. [J]."""
        return self._idle_w * time_s

    def rank_ps(self, load: Load) -> int:
        """Local time of a rank: 0 without work, else at least 1. [ps]."""
        if not load.tokens:
            return 0
        if load.prompt:
            attention = max(0, floor(self._mixed(self._mixed_ps, load) + 0.5))
        else:
            attention = self._decode_attention_ps(load)
        rest = _at(self._tokens_ps, load.tokens) + _at(self._sampled_ps, load.sampled)
        return max(1, rest + attention)

    def rank_j(self, load: Load) -> float:
        """Energy of a rank without what ranks share. [J]."""
        if not load.tokens:
            return 0.0
        if load.prompt:
            attention = self._mixed(self._mixed_j, load)
        else:
            attention = self._decode_attention_j(load)
        rest = _at(self._tokens_j, load.tokens) + _at(self._sampled_j, load.sampled)
        return rest + attention

    def _decode_attention_ps(self, load: Load) -> int:
        sequences, keys = load.sequences, load.keys
        cell = self._cell(sequences, keys)
        beyond = keys - sequences * self._contexts[cell]
        return self._decode_ps[sequences][cell] + self._slope_ps[sequences][cell] * beyond

    def _decode_attention_j(self, load: Load) -> float:
        sequences, keys = load.sequences, load.keys
        cell = self._cell(sequences, keys)
        low, high = self._contexts[cell], self._contexts[cell + 1]
        place = (keys - sequences * low) / (sequences * (high - low))
        row = self._decode_j[sequences]
        return row[cell] + place * (row[cell + 1] - row[cell])

    def _cell(self, sequences: int, keys: int) -> int:
        """Place of the last knot at or below the mean context, so that a knot follows it."""
        last = bisect_right(self._contexts, keys // sequences) - 1
        return min(max(last, 0), len(self._contexts) - 2)

    def _mixed(self, values: list[list[list[list[float]]]], load: Load) -> float:
        """Multilinear in prompt tokens, their mean keys, sequences, and their mean context."""
        context = load.keys / load.sequences if load.sequences else self._axes[3][0]
        point = (
            float(load.prompt),
            load.prompt_keys_twice / (2 * load.prompt),
            float(load.sequences),
            context,
        )
        (p, wp), (q, wq), (n, wn), (c, wc) = (
            (cell, (1.0 - place, place))
            for cell, place in map(_placed, self._axes, point)
        )  # fmt: skip
        total = 0.0
        for i, j, k, m in CORNERS:
            weight = ((wp[i] * wq[j]) * wn[k]) * wc[m]
            if weight:  # an axis with one knot has no second corner
                total += weight * values[p + i][q + j][n + k][c + m]
        return total


def _placed(knots: list[float], value: float) -> tuple[int, float]:
    """Cell of a value, and its place there: 0 below the first knot, over 1 beyond the last."""
    if len(knots) == 1:
        return 0, 0.0
    cell = min(max(bisect_right(knots, value) - 1, 0), len(knots) - 2)
    low = knots[cell]
    return cell, max(0.0, (value - low) / (knots[cell + 1] - low))


def _at(values: list[Number], index: int) -> Number:
    """Entry of a list that goes on with its last slope; one of length 1 holds for all."""
    last = len(values) - 1
    if index <= last:
        return values[index]
    if not last:
        return values[0]
    return values[last] + (index - last) * (values[last] - values[last - 1])
