"""From a traffic spec to a trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.serving.traffic import scaling
from tapeout.serving.traffic.arrivals import Rates, constant, first_times, renewal, repeated
from tapeout.serving.traffic.generate import ClientPlan, Pairs, Sessions, generate
from tapeout.serving.traffic.lengths import Fixed, LogNormal, Mixture, TokenCounts, histogram
from tapeout.serving.traffic.readers import ReadOptions, read_clients, read_trace
from tapeout.serving.traffic.readers.servegen import UNSUPPORTED
from tapeout.serving.traffic.servegen import generate_clients
from tapeout.serving.traffic.spec import (
    ArrivalSection,
    ClientSection,
    FixedTokens,
    HistogramTokens,
    LogNormalTokens,
    ServegenSection,
    TokenSection,
    TraceSection,
    TrafficSpec,
)
from tapeout.serving.traffic.streams import stream
from tapeout.serving.traffic.trace import MOST_SECONDS, Trace

Noted = tuple[Trace, tuple[str, ...]]
_ANY_RATE = constant(1.0, MOST_SECONDS)  # of a closed loop, whose times are set to 0 afterwards


def make_trace(spec: TrafficSpec, seed: int) -> Trace:
    """Draw or read the requests of a spec.

    Parameters
    ----------
    spec : TrafficSpec
    seed : int
        At least 0.

    Raises
    ------
    ProblemsError
        A file in it cannot be read.
    InfeasibleError
        Nothing arrives, or nothing is left.
    """
    return make_trace_with_notes(spec, seed)[0]


def make_trace_with_notes(spec: TrafficSpec, seed: int) -> Noted:
    """Draw or read the requests of a spec, with what else there is to know; see `make_trace`."""
    if spec.trace is not None:
        trace, notes = _replayed(spec, spec.trace, seed)
    elif spec.servegen is not None:
        trace, notes = _servegen(spec.servegen, seed)
    else:
        trace, notes = _described(spec, seed), ()
    if spec.requests is not None and trace.requests > spec.requests:
        trace = scaling.take(trace, np.arange(spec.requests))
    if spec.token_factor != 1.0:
        trace = scaling.convert_tokens(trace, spec.token_factor)
    if spec.max_model_len is not None:
        trace, left = scaling.fits(trace, spec.max_model_len)
        notes += (f"{left:,} requests of more than {spec.max_model_len:,} tokens left out",)
    return trace, notes


def _replayed(spec: TrafficSpec, section: TraceSection, seed: int) -> Noted:
    options = ReadOptions(
        format=section.format,
        sort=section.sort,
        keep_failures=section.keep_failures,
        spread=section.spread,
        seed=seed,
        block_tokens=section.block_tokens,
        window_s=_window(section.from_s, section.to_s),
        requests=spec.requests if section.rate_rps is None or section.method == "time" else None,
    )
    if section.arrivals is not None:
        options = replace(
            options,
            rate_rps=1.0,  # the clock comes afterwards
            process=renewal(section.arrivals.family, section.arrivals.cv),
        )
    trace, report = read_trace(Path(section.path), options)
    notes = report.notes + tuple(one.words for one in report.dropped)
    if section.arrivals is not None:
        trace = _clocked(trace, section.arrivals, seed)
    if section.rate_rps is None:
        return trace, notes
    if section.method == "thin":
        return scaling.thin(trace, section.rate_rps, seed), notes
    return scaling.scale_time(trace, section.rate_rps), notes


def _clocked(trace: Trace, arrivals: ArrivalSection, seed: int) -> Trace:
    """Lengths of a file at new arrivals."""
    process, rates = renewal(arrivals.family, arrivals.cv), _rates(arrivals)
    times = first_times(process, trace.requests, stream(seed, "arrivals"))
    rounds = float(np.floor(times[-1] / rates.expected)) + 1.0
    arrival_s = repeated(rates, rounds * float(rates.edges_s[-1])).clock(times)
    return replace(
        trace, arrival_s=arrival_s, source=f"{trace.source}; arrivals {process.words}, seed {seed}"
    )


def _servegen(section: ServegenSection, seed: int) -> Noted:
    stats = read_clients(
        Path(section.path), None if section.lengths is None else Path(section.lengths)
    )
    trace = generate_clients(
        stats,
        seed,
        clients=section.clients,
        window_s=_window(section.from_s, section.to_s),
        rate_factor=section.rate_factor,
    )
    unknown = (
        f"{stats.unknown_fraction:.1%} of the requests are from clients without lengths: they have"
        " the pooled lengths of the others"
    )
    return trace, (UNSUPPORTED, *((unknown,) if stats.unknown_fraction > 0.0 else ()))


def _window(from_s: float | None, to_s: float | None) -> tuple[float, float] | None:
    if from_s is None and to_s is None:
        return None
    begin, end = from_s or 0.0, float("inf") if to_s is None else to_s
    if begin >= end:
        raise InfeasibleError(f"a window from {begin:g} to {end:g} s holds nothing")
    return begin, end


def _described(spec: TrafficSpec, seed: int) -> Trace:
    plans = [plan for one in spec.clients for plan in [_plan(one, seed, spec)] * one.count]
    trace = generate(
        plans,
        seed,
        duration_s=spec.duration_s,
        requests=spec.requests,
        source=_words(spec),
    )
    if spec.closed_loop is None:
        return trace
    return replace(trace, arrival_s=np.zeros(trace.requests))


def _words(spec: TrafficSpec) -> str:
    if spec.closed_loop is not None:
        return f"closed loop of {spec.closed_loop:,} requests in flight"
    names = [
        f"{one.count} x {_process_words(one)}" if one.count > 1 else _process_words(one)
        for one in spec.clients[:3]
    ]
    more = len(spec.clients) - len(names)
    return "generated: " + ", ".join(names) + (f" and {more} more clients" if more > 0 else "")


def _process_words(client: ClientSection) -> str:
    assert client.arrivals is not None
    return renewal(client.arrivals.family, client.arrivals.cv).words


def _plan(client: ClientSection, seed: int, spec: TrafficSpec) -> ClientPlan:
    arrivals, prefix, sessions = client.arrivals, client.prefix, client.sessions
    one = Fixed(tokens=1)
    return ClientPlan(
        rates=_ANY_RATE if spec.closed_loop is not None or arrivals is None else _rates(arrivals),
        process=renewal("poisson", 1.0)
        if arrivals is None
        else renewal(arrivals.family, arrivals.cv),
        input_tokens=one if client.input is None else _counts(client.input),
        output_tokens=one if client.output is None else _counts(client.output),
        pairs=_pairs(client, seed),
        shared_tokens=0 if prefix is None else prefix.shared_tokens,
        groups=1 if prefix is None else prefix.groups,
        sessions=None
        if sessions is None
        else Sessions(
            turns=sessions.turns,
            spread=sessions.spread,
            think_s=sessions.think_s,
            think_cv=sessions.think_cv,
            max_context_tokens=sessions.max_context_tokens,
        ),
        slo_class=client.slo_class,
    )


def _rates(arrivals: ArrivalSection) -> Rates:
    if arrivals.rates_rps is None or arrivals.window_s is None:
        assert arrivals.rate_rps is not None
        return constant(arrivals.rate_rps, MOST_SECONDS)
    rates = np.array(arrivals.rates_rps, dtype=np.float64)
    edges_s: Floats = np.arange(rates.size + 1, dtype=np.float64) * arrivals.window_s
    return Rates(edges_s=edges_s, rates_rps=rates)


def _counts(section: TokenSection) -> TokenCounts:
    if isinstance(section, FixedTokens):
        return Fixed(tokens=section.tokens)
    if isinstance(section, LogNormalTokens):
        return LogNormal(mean=section.mean, cv=section.cv, most=section.most)
    if isinstance(section, HistogramTokens):
        return histogram(np.array(section.values), np.array(section.weights))
    return Mixture(usual=_counts(section.usual), other=_counts(section.other), share=section.share)


def _pairs(client: ClientSection, seed: int) -> Pairs | None:
    if client.lengths is None:
        return None
    options = ReadOptions(format=client.lengths.format, rate_rps=1.0, seed=seed, sort=True)
    found, _ = read_trace(Path(client.lengths.path), options)
    return Pairs(input_tokens=found.input_tokens, output_tokens=found.output_tokens)
