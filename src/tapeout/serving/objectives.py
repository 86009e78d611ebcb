"""Service-level objectives of a simulation: limits that a request meets or misses."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.constants import PERCENT
from tapeout.errors import Problem, ProblemsError, nearest
from tapeout.numerics import Floats
from tapeout.serving.types import Slo

METRICS = ("ttft", "tpot", "e2e", "queue")
EXAMPLE = "ttft_p90=2,tpot_p90=0.05"
_LIMIT = re.compile(r"(?:(?P<of>[^:=]+):)?(?P<metric>[a-z0-9]+)_p(?P<percent>[0-9.]+)=(?P<s>.+)")

Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A latency that the given per cent of requests must not exceed.

    Attributes
    ----------
    metric : str
        ttft, tpot, e2e or queue.
    limit_s : float
        [s]
    percentile : float
        Per cent of requests.
    of : str
        Class of traffic it holds for; blank: every class without limits of its own.
    """

    metric: str
    limit_s: float
    percentile: float = 90.0
    of: str = ""

    @property
    def key(self) -> str:
        """As it is written in an option: `ttft_p90`."""
        return f"{self.metric}_p{self.percentile:g}"

    @property
    def words(self) -> str:
        """As a reader sees it."""
        of = f" of {self.of}" if self.of else ""
        name = self.metric if self.metric == "queue" else self.metric.upper()
        return f"p{self.percentile:g} {name}{of} ≤ {self.limit_s:g} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """All limits together; a request attains it if it meets every limit of its class."""

    limits: tuple[Limit, ...] = ()

    @property
    def words(self) -> str:
        """All limits in a line."""
        return ", ".join(limit.words for limit in self.limits)

    def of(self, name: str) -> tuple[Limit, ...]:
        """Limits of a class: its own, else those without a class."""
        own = tuple(limit for limit in self.limits if limit.of == name)
        return own or tuple(limit for limit in self.limits if not limit.of)

    @property
    def share(self) -> float:
        """Share of requests that must meet every limit: the largest percentile named; 0..1."""
        return max((limit.percentile * PERCENT for limit in self.limits), default=0.0)


def objective_of(slo: Slo) -> Objective:
    """The same as limits."""
    limits = (("ttft", slo.ttft_s), ("tpot", slo.tpot_s))
    return Objective(
        limits=tuple(
            Limit(metric=metric, limit_s=limit_s, percentile=slo.percentile)
            for metric, limit_s in limits
        )
    )


def parse_objective(text: str) -> Objective:
    """Read `[CLASS:]METRIC_pNN=SECONDS`, several between commas.

    Raises
    ------
    ProblemsError
        With every part that cannot be read.

    Examples
    --------
    >>> parse_objective("ttft_p90=2,tpot_p90=0.05").words
    'p90 TTFT ≤ 2 s, p90 TPOT ≤ 0.05 s'
    """
    limits: list[Limit] = []
    problems: list[Problem] = []
    for part in (one.strip() for one in text.split(",")):
        found = _limit(part)
        if isinstance(found, Problem):
            problems.append(found)
        elif any((one.key, one.of) == (found.key, found.of) for one in limits):
            problems.append(_problem(part, "the same limit twice"))
        else:
            limits.append(found)
    if problems:
        raise ProblemsError(f"--slo {text!r}", problems)
    return Objective(limits=tuple(limits))


def _limit(part: str) -> Limit | Problem:
    match = _LIMIT.fullmatch(part.replace(" ", ""))
    if match is None:
        return _problem(part, "cannot be read")
    metric = match["metric"]
    if metric not in METRICS:
        return _not_limited(part, match)
    try:
        percent, limit_s = float(match["percent"]), float(match["s"])
    except ValueError:
        return _problem(part, "a number cannot be read")
    if not 0.0 < percent < 100.0:
        return _problem(part, "the percentile must lie between 0 and 100")
    if not 0.0 < limit_s < float("inf"):
        return _problem(part, "the limit must be above 0 seconds")
    return Limit(metric=metric, limit_s=limit_s, percentile=percent, of=match["of"] or "")


def _not_limited(part: str, match: re.Match[str]) -> Problem:
    if match["metric"] == "itl":
        return _problem(
            part,
            "ITL is of the gaps of all requests together, so no request meets or misses it",
            f"limit the mean gap of each request: tpot_p{match['percent']}={match['s']}",
        )
    close = nearest(match["metric"], METRICS, most=1)
    return _problem(
        part,
        f"{match['metric']!r} is none of {', '.join(METRICS)}",
        f"write {(*close, 'ttft')[0]}",
    )


def _problem(part: str, message: str, remedy: str = "") -> Problem:
    return Problem(
        path="--slo", value=part, message=message, remedy=remedy or f"write it as in {EXAMPLE}"
    )


def meets(limits: tuple[Limit, ...], latency_s: Mapping[str, Floats], finished: Flags) -> Flags:
    """Which requests finished and meet every limit.

    Parameters
    ----------
    limits : tuple of Limit
    latency_s : mapping of metric to array, shape (request,)
        nan where it is undefined: TPOT of a single token meets every limit. [s]
    finished : array of bool, shape (request,)
        Requests that are not miss everything.
    """
    good = finished.copy()
    for limit in limits:
        good &= ~(latency_s[limit.metric] > limit.limit_s)
    return good
