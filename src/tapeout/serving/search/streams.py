"""Requests at a rate of one a second, as many as a run wants; a longer stream only adds some.

A search compares rates, so everything else must be the same: one stream is stretched or squeezed in
time, and every rate sees the same requests in the same order (common random numbers).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.serving.steady import Lengths
from tapeout.serving.traffic.making import make_trace
from tapeout.serving.traffic.means import INPUT_CV, OUTPUT_CV, spec_of_means
from tapeout.serving.traffic.scaling import mean_rate_rps, take
from tapeout.serving.traffic.spec import TrafficSpec
from tapeout.serving.traffic.statistics import prefix_statistics
from tapeout.serving.traffic.trace import Trace
from tapeout.workload import Traffic


class Stream(Protocol):
    """Traffic of mean rate 1/s."""

    @property
    def most(self) -> int:
        """Requests that it can give."""
        ...

    def take(self, requests: int) -> Trace:
        """First so many requests, at most `most` of them, at a mean rate of 1/s."""
        ...


def at_rate(trace: Trace, rate_rps: float) -> Trace:
    """Stretch a stream of one request a second to another rate; think times stay. [1/s]."""
    return replace(trace, arrival_s=trace.arrival_s / rate_rps)


@dataclass(frozen=True, slots=True)
class TraceStream:
    """A trace; its own mean rate is taken as one.

    A search that uses a part of a trace only narrows the bracket with it: the answer is of as much
    of the trace as the longest run takes.
    """

    trace: Trace

    @property
    def most(self) -> int:
        """Requests of the trace."""
        return self.trace.requests

    def take(self, requests: int) -> Trace:
        """First so many requests.

        Raises
        ------
        InfeasibleError
            All of them come at one time.
        """
        whole = at_rate(self.trace, 1.0 / mean_rate_rps(self.trace))
        if requests >= whole.requests:
            return whole
        return take(whole, np.arange(requests))


@dataclass(frozen=True, slots=True)
class DrawnStream:
    """Requests drawn from a spec whose clients bring one request a second together.

    Attributes
    ----------
    spec : TrafficSpec
        With clients; its number of requests does not matter.
    seed : int
    longest : int
        Most requests.
    """

    spec: TrafficSpec
    seed: int = 0
    longest: int = 1_000_000

    @property
    def most(self) -> int:
        """Requests that it can give."""
        return self.longest

    def take(self, requests: int) -> Trace:
        """First so many requests."""
        wanted = {"duration_s": None, "requests": min(requests, self.longest)}
        drawn = make_trace(self.spec.model_copy(update=wanted), self.seed)
        # Their own rate is 1 to within the noise of the count, which is most of the noise of a
        # search: what is asked is the rate that was offered.
        return at_rate(drawn, 1.0 / mean_rate_rps(drawn)) if drawn.requests > 1 else drawn


@dataclass(frozen=True, slots=True)
class UnsharedStream:
    """Another stream's requests with prompts that have nothing in common."""

    stream: Stream

    @property
    def most(self) -> int:
        """Requests that it can give."""
        return self.stream.most

    def take(self, requests: int) -> Trace:
        """First so many requests."""
        return replace(self.stream.take(requests), prefixes=None)


def stream_of_means(
    traffic: Traffic,
    seed: int = 0,
    *,
    input_cv: float = INPUT_CV,
    output_cv: float = OUTPUT_CV,
) -> DrawnStream:
    """Requests of a class of which only means are known: Poisson, lognormal lengths.

    Parameters
    ----------
    traffic : Traffic
        Its cached share becomes one prompt that all requests begin with.
    seed : int
    input_cv, output_cv : float
        Spread of the lengths over their mean, an assumption (docs/traffic.md).
    """
    spec = spec_of_means(traffic, 1.0, 1.0, input_cv=input_cv, output_cv=output_cv)
    return DrawnStream(spec, seed)


def mean_lengths(trace: Trace, *, cached: bool = True) -> Lengths:
    """Mean tokens of a request, as the steady state takes them.

    Parameters
    ----------
    trace : Trace
    cached : bool
        Whether the engine has a prefix cache. Cached tokens are then those that a cache without
        bounds would have found, which is the most that any cache finds; a trace without prefixes
        has none.

    Raises
    ------
    InfeasibleError
        An empty trace.
    """
    if not trace.requests:
        raise InfeasibleError("the traffic has no requests")
    mean = float(trace.input_tokens.mean())
    share = 0.0
    if cached and trace.prefixes is not None:
        share = prefix_statistics(trace.prefixes, trace.input_tokens).capped_token_fraction
    new = max(mean * (1.0 - share), 1.0)
    return Lengths(new=new, cached=mean - new, output=float(trace.output_tokens.mean()))
