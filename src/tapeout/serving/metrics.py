"""From what became of every request to the figures that a reader compares.

Definitions are those of docs/simulate.md. Percentiles are per request and linear between
neighbours, as vLLM's own benchmark has them; latencies are of requests that finished, attainment is
of all that arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tapeout.constants import PERCENT
from tapeout.errors import Problem, ProblemsError, nearest
from tapeout.numerics import Floats, Ints
from tapeout.serving.engine.gaps import Gaps
from tapeout.serving.engine.types import RequestTable, Simulation
from tapeout.serving.intervals import NOTHING, Estimate, mean, percentile
from tapeout.serving.objectives import Flags, Objective, meets
from tapeout.serving.summary import (
    RARE,
    STATISTICS,
    ClassSummary,
    Distribution,
    GapSummary,
    LimitCheck,
    Summary,
    Use,
)
from tapeout.serving.window import Window, rates_over, trend_of, window_of

NAN = float("nan")
RARE_GAPS = 10_000  # from so many on ten lie beyond p99.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a run is measured against.

    Attributes
    ----------
    chips, replicas : int
        Chips of all replicas.
    blocks : int
        Usable cache blocks of all ranks of all replicas.
    objective : Objective
    warm_up_s : float
        Left out at the beginning. [s]
    in_flight : int
        Of a closed loop; 0: an open one.
    slots : int
        Sequences that all replicas can have in flight; 0: not known.
    slo_class : array of int, shape (request,), optional
        Place in `classes`.
    classes : tuple of str
    """

    chips: int
    blocks: int
    replicas: int = 1
    objective: Objective = Objective()  # noqa: RUF009 - frozen
    warm_up_s: float = 0.0
    in_flight: int = 0
    slots: int = 0
    slo_class: Ints | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """Requests that arrived in the window, in order of arrival; arrays have shape (request,)."""

    place: Ints
    finished: Flags
    latency_s: Mapping[str, Floats]
    met: Flags
    label: Ints


def tpot_s(requests: RequestTable) -> Floats:
    """Mean gap between the tokens of a request; nan for one token. [s].

    Examples
    --------
    A request whose first of five tokens comes at 1 s and whose last at 3 s has 0.5 s.
    """
    gaps = requests.output_tokens - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (requests.last_token_s - requests.first_token_s) / gaps
    return np.where(gaps > 0, found, NAN)


def latencies_s(requests: RequestTable) -> dict[str, Floats]:
    """Latencies of every request by name: ttft, tpot, e2e, queue; nan where undefined. [s]."""
    return {
        "ttft": requests.ttft_s,
        "tpot": tpot_s(requests),
        "e2e": requests.e2e_s,
        "queue": requests.queue_s,
    }


def met_objective(requests: RequestTable, setting: Setting) -> Flags:
    """Which requests finished and met every limit of their class, shape (request,)."""
    label = _labels(setting, requests.arrival_s.size)
    return _met(latencies_s(requests), _finished(requests), label, setting)


def summarise(simulation: Simulation, setting: Setting) -> Summary:
    """All metrics of a run.

    Parameters
    ----------
    simulation : Simulation
    setting : Setting

    Raises
    ------
    ProblemsError
        A limit names a class that the trace does not have.
    InfeasibleError
        The warm-up leaves nothing of the run.
    """
    check_setting(setting)
    requests, totals = simulation.requests, simulation.totals
    window = window_of(
        requests, totals.end_s, warm_up_s=setting.warm_up_s, closed=setting.in_flight > 0
    )
    seen = _seen(requests, window, setting)
    found = {name: _distribution(values) for name, values in seen.latency_s.items()}
    trend = trend_of(requests, window, slots=setting.slots)
    counted, basis = rates_over(requests, window, trend)
    length_s, last = counted.length_s, requests.last_token_s
    ended = (last >= counted.start_s) & (last <= counted.end_s)
    good = ended & met_objective(requests, setting)
    served = _per(int(ended.sum()), length_s)
    emitted, read = _tokens(requests, counted)
    arrived = requests.rejected[seen.place]
    return Summary(
        window=window,
        trend=trend,
        counted=counted,
        basis=basis,
        requests=seen.place.size,
        finished=int(seen.finished.sum()),
        rejected=int(np.count_nonzero(arrived)),
        unfinished=int(np.count_nonzero(~seen.finished & (arrived == 0))),
        offered_requests_per_s=served
        if setting.in_flight
        else (NAN if window.burst else _per(seen.place.size, window.length_s)),
        served_requests_per_s=served,
        attainment=mean(seen.met.astype(float)) if setting.objective.limits else NOTHING,
        goodput_requests_per_s=_per(int(good.sum()), length_s) if setting.objective.limits else NAN,
        output_tokens_per_s=_per(emitted, length_s),
        input_tokens_per_s=_per(read, length_s),
        latencies=found,
        itl_mean_s=_itl(requests, seen),
        itl=_pooled_itl(simulation.gaps),
        checks=_checks(seen, setting),
        classes=_classes(seen, setting, good, length_s),
        use=_use(simulation, setting),
    )


def check_setting(setting: Setting) -> None:
    """Refuse limits for classes that the trace does not have.

    Raises
    ------
    ProblemsError
        With every such class.
    """
    unknown = {limit.of for limit in setting.objective.limits} - {"", *setting.classes}
    if unknown:
        known = ", ".join(setting.classes) or "none"
        raise ProblemsError(
            "--slo",
            [
                Problem(
                    path="--slo",
                    value=name,
                    message=f"the trace has no such class; it has: {known}",
                    remedy=f"write {(*nearest(name, setting.classes, most=1), 'no class')[0]}",
                )
                for name in sorted(unknown)
            ],
        )


def _finished(requests: RequestTable) -> Flags:
    done: Flags = np.isfinite(requests.last_token_s) & (requests.rejected == 0)
    return done


def _labels(setting: Setting, count: int) -> Ints:
    return np.zeros(count, np.int64) if setting.slo_class is None else setting.slo_class


def _met(latency_s: Mapping[str, Floats], finished: Flags, label: Ints, setting: Setting) -> Flags:
    good = np.zeros(finished.size, np.bool_)
    for place, name in enumerate(setting.classes or ("",)):
        own = label == place
        parts = {key: values[own] for key, values in latency_s.items()}
        good[own] = meets(setting.objective.of(name), parts, finished[own])
    return good


def _seen(requests: RequestTable, window: Window, setting: Setting) -> _Seen:
    """Requests of the window; those whose arrival is unknown are among them."""
    at = requests.arrival_s
    outside = (at < window.start_s) | (at > window.end_s)
    place = np.flatnonzero(~outside)
    place = place[np.argsort(at[place], kind="stable")]
    label = _labels(setting, at.size)[place]
    latency_s = {name: values[place] for name, values in latencies_s(requests).items()}
    finished = _finished(requests)[place]
    return _Seen(
        place=place,
        finished=finished,
        latency_s=latency_s,
        met=_met(latency_s, finished, label, setting),
        label=label,
    )


def _distribution(values: Floats) -> Distribution:
    known = values[np.isfinite(values)]
    made = {
        name: mean(known) if name == "mean" else percentile(known, float(name[1:]))
        for name in STATISTICS
    }
    largest = float(known.max()) if known.size else NAN
    return Distribution(count=known.size, values=made, largest_s=largest)


def _checks(seen: _Seen, setting: Setting) -> tuple[LimitCheck, ...]:
    """Every limit beside its percentile, over the requests that it holds for.

    A request that was rejected or did not finish exceeds every limit.
    """
    found = []
    for limit in setting.objective.limits:
        own = np.zeros(seen.place.size, np.bool_)
        for place, name in enumerate(setting.classes or ("",)):
            if limit in setting.objective.of(name):
                own |= seen.label == place
        values = seen.latency_s[limit.metric][own]
        known = values[np.isfinite(values) & seen.finished[own]]
        failed = int(np.count_nonzero(~seen.finished[own]))
        found.append(LimitCheck(limit=limit, value=_reached(known, failed, limit.percentile)))
    return tuple(found)


def _reached(known: Floats, failed: int, percent: float) -> Estimate:
    """Percentile at which those that failed take for ever."""
    if not failed:
        return percentile(known, percent)
    rank = (known.size + failed - 1) * percent * PERCENT
    if rank > known.size - 1:
        return Estimate(value=float("inf"))
    return Estimate(value=float(np.interp(rank, np.arange(known.size), np.sort(known))))


def _classes(
    seen: _Seen, setting: Setting, good: Flags, length_s: float
) -> tuple[ClassSummary, ...]:
    found = []
    labels = _labels(setting, good.size)
    for place, name in enumerate(setting.classes):
        own = seen.label == place
        limited = bool(setting.objective.of(name))
        found.append(
            ClassSummary(
                name=name,
                requests=int(own.sum()),
                attainment=mean(seen.met[own].astype(float)) if limited else NOTHING,
                goodput_requests_per_s=_per(int(good[labels == place].sum()), length_s)
                if limited
                else NAN,
                latencies={key: _distribution(one[own]) for key, one in seen.latency_s.items()},
            )
        )
    return tuple(found)


def _tokens(requests: RequestTable, window: Window) -> tuple[float, int]:
    """Output tokens emitted in the window, and prompt tokens of the prompts completed in it.

    Tokens after the first are spread evenly to the last one, so a request at the edge counts in
    part.
    """
    first, last = requests.first_token_s, requests.last_token_s
    inside = (first >= window.start_s) & (first <= window.end_s)
    span = np.maximum(last - first, 0.0)
    within = np.minimum(last, window.end_s) - np.maximum(first, window.start_s)
    share = np.where(span > 0.0, np.maximum(within, 0.0) / np.where(span > 0.0, span, 1.0), inside)
    rest = np.where(np.isfinite(last), (requests.output_tokens - 1) * share, 0.0)
    return float(inside.sum() + np.nansum(rest)), int(requests.input_tokens[inside].sum())


def _itl(requests: RequestTable, seen: _Seen) -> float:
    """Mean of all gaps of all requests of the window that finished. [s]."""
    place = seen.place[seen.finished]
    gaps = int((requests.output_tokens[place] - 1).sum())
    spans = requests.last_token_s[place] - requests.first_token_s[place]
    return float(spans.sum()) / gaps if gaps else NAN


def _pooled_itl(gaps: Gaps | None) -> GapSummary | None:
    """Percentiles of the gaps that a run counted."""
    if gaps is None:
        return None
    count = gaps.total
    names = [*STATISTICS[1:], *([RARE] if count >= RARE_GAPS else [])]
    found = gaps.percentile_s(np.array([*(float(name[1:]) for name in names), 100.0])).tolist()
    return GapSummary(
        count=count,
        values_s={"mean": _per(gaps.sum_s, count)} | dict(zip(names, found[:-1], strict=True)),
        largest_s=found[-1],
    )


def _use(simulation: Simulation, setting: Setting) -> Use:
    requests, totals = simulation.requests, simulation.totals
    end_s, finished = totals.end_s, _finished(requests)
    started = np.isfinite(requests.scheduled_s)
    output = int(requests.output_tokens[finished].sum())
    return Use(
        chips=setting.chips,
        utilisation_fraction=_per(totals.busy_s, end_s * setting.replicas),
        kv_mean_fraction=_per(totals.blocks_s, end_s * setting.blocks),
        kv_peak_fraction=_per(totals.peak_blocks, setting.blocks),
        running_mean=_per(totals.running_s, end_s),
        running_peak=totals.peak_running,
        preemptions=totals.preemptions,
        discarded_tokens=totals.discarded_tokens,
        preempted_fraction=_per(int(np.count_nonzero(requests.preemptions)), int(started.sum())),
        hit_fraction=_per(
            int(requests.hit_tokens[started].sum()), int(requests.input_tokens[started].sum())
        ),
        joule_per_output_token=_per(totals.energy_j, output),
        joule_per_request=_per(totals.energy_j, int(finished.sum())),
        power_w=_per(totals.energy_j, end_s),
        little_residual_fraction=_residual(simulation, finished),
    )


def _residual(simulation: Simulation, finished: Flags) -> float:
    requests = simulation.requests
    if not np.array_equal(finished, requests.rejected == 0) or not finished.any():
        return NAN
    sojourn = requests.last_token_s - requests.scheduled_s - requests.preempted_s
    return _per(float(sojourn[finished].sum()), simulation.totals.running_s) - 1.0


def _per(amount: float, by: float) -> float:
    return float(amount) / float(by) if by > 0 else NAN


__all__ = [
    "Estimate",
    "Setting",
    "Summary",
    "check_setting",
    "latencies_s",
    "met_objective",
    "summarise",
    "tpot_s",
]
