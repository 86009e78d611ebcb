"""What a run of the simulator amounts to: types, their rows for tables and for JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tapeout.serving.intervals import NOTHING, Estimate
from tapeout.serving.objectives import Limit
from tapeout.serving.window import Basis, Trend, Window

STATISTICS = ("mean", "p50", "p90", "p95", "p99")
RARE = "p99.9"  # of gaps between tokens, where enough of them lie beyond it


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A latency over the requests for which it is defined. [s].

    Attributes
    ----------
    count : int
        Requests for which it is.
    values : mapping of statistic to Estimate
        mean, p50, p90, p95, p99. [s]
    largest_s : float
    """

    count: int
    values: Mapping[str, Estimate]
    largest_s: float

    def __getitem__(self, statistic: str) -> Estimate:
        return self.values.get(statistic, NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class GapSummary:
    """Gaps between successive tokens of a request (ITL), pooled over requests.

    Attributes
    ----------
    count : int
        Tokens that come together, as accepted drafts do, have one gap before them.
    values_s : mapping of statistic to float
        Those of `STATISTICS`, and p99.9 where ten gaps lie beyond it; right to 0.2 %. [s]
    largest_s : float
        Right to 0.2 %. [s]
    """

    count: int
    values_s: Mapping[str, float]
    largest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitCheck:
    """A limit of an objective beside what the run reached at its percentile.

    `value` is infinite where so many requests failed that the percentile is one of them, and nan
    where the latency is defined for no request, which then holds.
    """

    limit: Limit
    value: Estimate

    @property
    def met(self) -> bool:
        """The percentile does not exceed the limit."""
        return not self.value.value > self.limit.limit_s

    @property
    def sure(self) -> bool:
        """The whole confidence interval lies on the same side of the limit; not if unknown."""
        return abs(self.value.value - self.limit.limit_s) > self.value.half_width


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassSummary:
    """One class of traffic."""

    name: str
    requests: int
    attainment: Estimate
    goodput_requests_per_s: float
    latencies: Mapping[str, Distribution]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A figure with a name, for a table; `half_width` is nan where it is unknown or exact."""

    group: str
    name: str
    value: float
    unit: str
    half_width: float = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a whole run made of its chips, warm-up and drain included.

    Attributes
    ----------
    chips : int
        Of all replicas.
    utilisation_fraction : float
        Share of the run in which a step runs, mean over replicas.
    kv_mean_fraction, kv_peak_fraction : float
        Held blocks over usable ones. With several replicas the peaks need not coincide.
    running_mean, running_peak : float
        Sequences.
    preemptions, discarded_tokens : int
    preempted_fraction : float
        Share of requests preempted at least once.
    hit_fraction : float
        Prompt tokens found in the cache over prompt tokens, first admissions.
    joule_per_output_token, joule_per_request, power_w : float
        Chips, idle time between steps included; hosts are not.
    little_residual_fraction : float
        Time in the running set as the requests have it over the integral of the running set as
        the engine counted it, less 1. Nought up to rounding; nan where a request did not finish.
    """

    chips: int
    utilisation_fraction: float
    kv_mean_fraction: float
    kv_peak_fraction: float
    running_mean: float
    running_peak: int
    preemptions: int
    discarded_tokens: int
    preempted_fraction: float
    hit_fraction: float
    joule_per_output_token: float
    joule_per_request: float
    power_w: float
    little_residual_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """All metrics of a run. Latencies are of finished requests that arrived in the window.

    Attributes
    ----------
    window : Window
        Latencies are of requests that arrive in it.
    trend : Trend
        Of the requests in the system; says whether the run was steady.
    requests, finished, rejected, unfinished : int
        That arrived in the window; the last three add up to the first.
    offered_requests_per_s, served_requests_per_s : float
        Arrivals in the window, and completions in `counted`. Offered is nan where everything came
        at once.
    attainment : Estimate
        Share of the requests that met every limit of their class; rejected and unfinished ones
        are misses. nan without an objective.
    goodput_requests_per_s : float
        Requests that ended in the window and met every limit: at most those served.
    output_tokens_per_s, input_tokens_per_s : float
        Tokens emitted, and tokens of prompts completed (cached ones too), in the window; of all
        replicas.
    use : Use
        Of engine, cache and energy over the whole run.
    latencies : mapping of name to Distribution
        ttft, tpot, e2e, queue.
    itl_mean_s : float
        Mean over all gaps of all requests, tokens of one step being 0 apart; exact.
    itl : GapSummary, optional
        Of the gaps that end after the warm-up, to the end of the run; None where the run did not
        count them.
    checks : tuple of LimitCheck
    classes : tuple of ClassSummary
        Empty where the trace has none.
    counted : Window, optional
        Rates of service are counted in it: the window, or of a saturated run its full load.
    basis : Basis
        Which of these.
    """

    window: Window
    trend: Trend
    requests: int
    finished: int
    rejected: int
    unfinished: int
    offered_requests_per_s: float
    served_requests_per_s: float
    attainment: Estimate
    goodput_requests_per_s: float
    output_tokens_per_s: float
    input_tokens_per_s: float
    use: Use
    latencies: Mapping[str, Distribution]
    itl_mean_s: float
    checks: tuple[LimitCheck, ...] = ()
    classes: tuple[ClassSummary, ...] = ()
    counted: Window | None = None
    basis: Basis = Basis.WINDOW
    itl: GapSummary | None = None

    @property
    def output_tokens_per_s_per_chip(self) -> float:
        """Of all chips of all replicas."""
        return self.output_tokens_per_s / self.use.chips

    @property
    def input_tokens_per_s_per_chip(self) -> float:
        """Of all chips of all replicas."""
        return self.input_tokens_per_s / self.use.chips

    @property
    def met(self) -> bool:
        """Every limit holds at its percentile."""
        return all(check.met for check in self.checks)

    def rows(self) -> tuple[Row, ...]:
        """Every figure with its name and unit, in the order of a report."""
        return (*self._latency_rows(), *self._load_rows(), *self._engine_rows())

    def _latency_rows(self) -> Iterator[Row]:
        for name, found in self.latencies.items():
            label = name if name == "queue" else name.upper()
            for statistic, one in found.values.items():
                yield Row(
                    group="latency",
                    name=f"{label} {statistic}",
                    value=one.value,
                    unit="s",
                    half_width=one.half_width,
                )
        yield Row(group="latency", name="ITL mean", value=self.itl_mean_s, unit="s")
        if self.itl is not None:
            for statistic, value_s in self.itl.values_s.items():
                if statistic != "mean":  # the exact one is above
                    yield Row(group="latency", name=f"ITL {statistic}", value=value_s, unit="s")

    def _load_rows(self) -> Iterator[Row]:
        yield Row(
            group="load",
            name="SLO attainment",
            value=self.attainment.value,
            unit="fraction",
            half_width=self.attainment.half_width,
        )
        yield from _rows("load", self, _LOAD)

    def _engine_rows(self) -> Iterator[Row]:
        yield from _rows("engine", self.use, _ENGINE)

    def to_dict(self) -> dict[str, Any]:
        """Everything in SI units with null for what is undefined, ready for JSON."""
        flat = {name: getattr(self, name) for name in _COUNTS}
        flat |= {name: getattr(self, name) for _, name, _ in _LOAD}
        flat |= {name: getattr(self.use, name) for _, name, _ in _ENGINE}
        content: dict[str, Any] = _finite(
            {
                "window": {
                    "start_s": self.window.start_s,
                    "end_s": self.window.end_s,
                    "burst": self.window.burst,
                },
                "rates": {
                    "of": self.basis.value,
                    "start_s": (self.counted or self.window).start_s,
                    "end_s": (self.counted or self.window).end_s,
                },
                "steadiness": self.trend.steadiness.name.lower(),
                "queue_growth_requests": self.trend.growth,
                "queue_slope_per_s": self.trend.slope_per_s,
                "queue_slope_error_per_s": self.trend.slope_error_per_s,
            }
            | flat
            | {
                "slo_attainment_fraction": _estimate(self.attainment),
                "latency_s": _latencies(self.latencies),
                "itl_mean_s": self.itl_mean_s,
                "itl_s": _gaps(self.itl),
                "limits": [_check(one) for one in self.checks],
                "classes": [_class(one) for one in self.classes],
            }
        )
        return content


_COUNTS = ("requests", "finished", "rejected", "unfinished")
_LOAD = (
    ("offered", "offered_requests_per_s", "requests/s"),
    ("served", "served_requests_per_s", "requests/s"),
    ("goodput", "goodput_requests_per_s", "requests/s"),
    ("output", "output_tokens_per_s", "tokens/s"),
    ("output per chip", "output_tokens_per_s_per_chip", "tokens/s"),
    ("input", "input_tokens_per_s", "tokens/s"),
    ("input per chip", "input_tokens_per_s_per_chip", "tokens/s"),
)
_ENGINE = (
    ("chips", "chips", ""),
    ("busy", "utilisation_fraction", "fraction"),
    ("KV cache held, mean", "kv_mean_fraction", "fraction"),
    ("KV cache held, peak", "kv_peak_fraction", "fraction"),
    ("running, mean", "running_mean", "sequences"),
    ("running, peak", "running_peak", "sequences"),
    ("preemptions", "preemptions", ""),
    ("requests preempted", "preempted_fraction", "fraction"),
    ("tokens computed and given up", "discarded_tokens", "tokens"),
    ("prefix hits", "hit_fraction", "fraction"),
    ("energy of an output token", "joule_per_output_token", "J"),
    ("energy of a request", "joule_per_request", "J"),
    ("power", "power_w", "W"),
    ("Little's law residual", "little_residual_fraction", "fraction"),
)


def _rows(
    group: str, figures: Summary | Use, names: tuple[tuple[str, str, str], ...]
) -> Iterator[Row]:
    for label, name, unit in names:
        yield Row(group=group, name=label, value=float(getattr(figures, name)), unit=unit)


def _latencies(latencies: Mapping[str, Distribution]) -> dict[str, Any]:
    return {
        name: {"requests": found.count, "largest": found.largest_s}
        | {statistic: _estimate(one) for statistic, one in found.values.items()}
        for name, found in latencies.items()
    }


def _gaps(itl: GapSummary | None) -> dict[str, Any] | None:
    if itl is None:
        return None
    return {"gaps": itl.count, "largest": itl.largest_s, **itl.values_s}


def _estimate(one: Estimate) -> dict[str, float]:
    return {"value": one.value, "half_width_95": one.half_width}


def _check(one: LimitCheck) -> dict[str, Any]:
    return {
        "limit": one.limit.key,
        "class": one.limit.of,
        "limit_s": one.limit.limit_s,
        "value_s": one.value.value,
        "half_width_95_s": one.value.half_width,
        "met": one.met,
    }


def _class(one: ClassSummary) -> dict[str, Any]:
    return {
        "name": one.name,
        "requests": one.requests,
        "slo_attainment_fraction": _estimate(one.attainment),
        "goodput_requests_per_s": one.goodput_requests_per_s,
        "latency_s": _latencies(one.latencies),
    }


def _finite(value: Any) -> Any:
    """What does not apply is null: JSON has no nan."""
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
