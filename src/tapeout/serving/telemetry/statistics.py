"""Figures of requests that a fit compares: means and percentiles of latencies, and by groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tapeout.numerics import Floats, Ints
from tapeout.serving.engine.types import RequestTable
from tapeout.serving.telemetry.log import RequestLog

METRICS = ("ttft", "tpot", "e2e")
STATISTICS = ("mean", "p50", "p90")
FEWEST_OF_A_GROUP = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Latencies of requests, arrays of shape (request,); `tpot_s` is nan for one token. [s]."""

    ttft_s: Floats
    tpot_s: Floats
    e2e_s: Floats

    def of(self, metric: str) -> Floats:
        """By name."""
        return {"ttft": self.ttft_s, "tpot": self.tpot_s, "e2e": self.e2e_s}[metric]

    def at(self, places: Ints) -> Latencies:
        """Those of some requests, in the order given."""
        return Latencies(
            ttft_s=self.ttft_s[places], tpot_s=self.tpot_s[places], e2e_s=self.e2e_s[places]
        )


def measured(log: RequestLog) -> Latencies:
    """Latencies that a log has."""
    return _latencies(
        log.arrival_s, log.first_token_s, log.last_token_s, log.output_tokens.astype(float)
    )


def simulated(requests: RequestTable) -> Latencies:
    """Latencies of a run."""
    return _latencies(
        requests.arrival_s,
        requests.first_token_s,
        requests.last_token_s,
        requests.output_tokens.astype(float),
    )


def _latencies(arrival_s: Floats, first_s: Floats, last_s: Floats, output: Floats) -> Latencies:
    gaps = np.where(output > 1.0, output - 1.0, np.nan)
    return Latencies(
        ttft_s=first_s - arrival_s, tpot_s=(last_s - first_s) / gaps, e2e_s=last_s - arrival_s
    )


def in_flight_at_first_token(log: RequestLog, places: Ints) -> Floats:
    """Requests of `places` being answered when each of them got its first token, as many."""
    first_s, last_s = log.first_token_s[places], log.last_token_s[places]
    begun = np.searchsorted(np.sort(first_s), first_s, side="right")
    ended = np.searchsorted(np.sort(last_s), first_s, side="left")
    return (begun - ended).astype(float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Names of what is compared, with the requests each is of.

    `groups` maps a name to the places (of a log) that belong to it; TTFT by prompt length tells
    time for each token from time for each request, TPOT by load tells step from operator time.
    """

    groups: Mapping[str, tuple[str, Ints]]

    def of(self, latencies: Latencies, places: Ints) -> Floats:
        """Logarithms of all figures, of the requests at `places` (any of them repeated)."""
        chosen = latencies.at(places)
        found = [
            np.log(max(statistic(chosen.of(metric), name), TINY_S))
            for metric in METRICS
            for name in STATISTICS
        ]
        for metric, members in self.groups.values():
            inside = places[np.isin(places, members)]
            values = latencies.of(metric)[inside]
            found.append(np.log(max(statistic(values, "mean"), TINY_S)))
        return np.array(found)


TINY_S = 1e-9  # keeps the logarithm of a latency of zero


def statistic(values: Floats, name: str) -> float:
    """Mean or a percentile of what is defined; nan where nothing is.

    Examples
    --------
    >>> statistic(np.array([1.0, 3.0, np.nan]), "mean")
    2.0
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return float("nan")
    if name == "mean":
        return float(known.mean())
    return float(np.percentile(known, float(name.removeprefix("p"))))


def figures_of(log: RequestLog, places: Ints) -> Figures:
    """Groups of the requests at `places`: shorter and longer prompts, less and more load."""
    groups: dict[str, tuple[str, Ints]] = {}
    sortings = {
        "ttft": log.input_tokens[places].astype(float),
        "tpot": in_flight_at_first_token(log, places),
    }
    for metric, key in sortings.items():
        low, high = np.quantile(key, [1.0 / 3.0, 2.0 / 3.0])
        for name, mask in (("low", key <= low), ("high", key >= high)):
            members = places[mask]
            if low < high and members.size >= FEWEST_OF_A_GROUP:
                groups[f"{metric} {name}"] = (metric, members)
    return Figures(groups=groups)
