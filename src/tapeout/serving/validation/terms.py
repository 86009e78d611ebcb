"""Fitted stack terms of the loads that the timing model was not fitted to.

The timing model carries effects of engines in closed loops. Static batches of 2024 software,
submissions to MLPerf, disaggregated and speculative runs have their own: a log factor on all
times for each key of a chain from wide to narrow, each the shrunken mean of what the ones before
leave, over curves of the fit part (data/terms.csv; tools/fit_serving_terms.py).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

OPEN = "open loop"
PLAIN = "closed loop"  # timed by the law with its own effects


def term_keys(mode: str, stack: str, chip: str, model: str) -> tuple[str, ...]:
    """Keys of a run, widest first; none for the loads the timing model is fitted to.

    Examples
    --------
    >>> term_keys("static batch", "vllm", "AMD MI250", "llama-2-7b")[1:4]
    ('static batch|vllm', 'static batch|vllm|AMD', 'static batch|vllm|AMD MI250')
    >>> term_keys("closed loop", "vllm", "AMD MI250", "llama-2-7b")
    ()
    """
    if mode in (PLAIN, OPEN):
        return ()
    vendor = chip.partition(" ")[0]
    pair = pair_key(mode, stack, chip)
    return mode, f"{mode}|{stack}", f"{mode}|{stack}|{vendor}", pair, f"{pair}|{model}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Log factors on time by key."""

    factors: Mapping[str, float]

    def log_factor(self, keys: Sequence[str]) -> float:
        """Sum over the keys of a run; 0 where nothing is known."""
        return sum(self.factors.get(key, 0.0) for key in keys)

    def knows(self, mode: str, stack: str, chip: str) -> bool:
        """True if runs of this software on this chip under this load were measured."""
        return pair_key(mode, stack, chip) in self.factors


def pair_key(mode: str, stack: str, chip: str) -> str:
    """Key of software on a chip; closed loops have it too, with a factor of one."""
    return f"{mode}|{stack}|{chip}"


NO_TERMS = Terms(factors={})


@cache
def load_terms() -> Terms:
    """Read data/terms.csv."""
    text = resources.files("tapeout.serving").joinpath("data/terms.csv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines())
    return Terms(factors={row["key"]: float(row["log_factor"]) for row in rows})


def fit_terms(
    curves: Sequence[tuple[Sequence[str], float]], prior: float, levels: Sequence[int]
) -> Terms:
    """Fit the chains to the mean log(measured / predicted time) of each curve.

    Parameters
    ----------
    curves : sequence of (keys, mean log ratio)
    prior : float
        Curves that say "no effect" beside the measured ones; larger shrinks more.
    levels : sequence of int
        Places in the chain that are used.
    """
    return Terms(factors=chained_factors(curves, dict.fromkeys(levels, prior)))


def chained_factors(
    rows: Sequence[tuple[Sequence[str], float]], priors: Mapping[int, float]
) -> dict[str, float]:
    """Shrunken mean of each key of what the levels before it leave: sum / (n + prior).

    Parameters
    ----------
    rows : sequence of (keys, log ratio)
        Keys from wide to narrow.
    priors : mapping of level to rows that say "no effect"
        Levels in the order they are fitted.
    """
    left = [value for _, value in rows]
    factors: dict[str, float] = {}
    for level, prior in priors.items():
        groups: dict[str, list[int]] = {}
        for place, (keys, _) in enumerate(rows):
            if level < len(keys):
                groups.setdefault(keys[level], []).append(place)
        for key, places in groups.items():
            factors[key] = sum(left[place] for place in places) / (len(places) + prior)
            for place in places:
                left[place] -= factors[key]
    return factors
