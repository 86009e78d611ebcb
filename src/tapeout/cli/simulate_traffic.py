"""The traffic of `tapeout simulate`: a trace file, a spec, or requests of given lengths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tapeout.errors import InfeasibleError, Problem, ProblemsError

if TYPE_CHECKING:
    from tapeout.serving.search import Stream
    from tapeout.serving.traffic import Trace, TrafficSpec

SPEC = ".toml"
USUAL_REQUESTS, USUAL_INPUT, USUAL_OUTPUT = 1000, 512, 128
NAMES = {  # ends of keys of a spec, and the options they come from
    ".rate_rps": "--rate",
    ".cv": "--cv",
    "input": "--input",
    "output": "--output",
    "requests": "--requests",
    "duration_s": "--duration",
    "closed_loop": "--in-flight",
    "max_model_len": "--max-model-len",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says about traffic; None: not given."""

    path: Path | None
    rate: float | None = None
    thin: bool = False
    speed: float | None = None
    requests: int | None = None
    duration_s: float | None = None
    in_flight: int = 0
    form: str | None = None
    sort: bool = False
    max_model_len: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    length_cv: float | None = None
    cv: float | None = None
    seed: int = 0

    @property
    def spec(self) -> bool:
        """Whether the file is a traffic spec."""
        return self.path is not None and self.path.suffix.lower() == SPEC

    @property
    def lengths_given(self) -> str:
        """Options that are for requests without a file, as far as given."""
        every = {
            "--input": self.input_tokens,
            "--output": self.output_tokens,
            "--length-cv": self.length_cv,
            "--cv": self.cv,
        }
        return ", ".join(name for name, value in every.items() if value is not None)

    @property
    def reading_given(self) -> str:
        """Options that are for reading a trace, as far as given."""
        every = {"--format": self.form is not None, "--sort": self.sort}
        return ", ".join(name for name, given in every.items() if given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """A trace with what its reader had to say."""

    trace: Trace
    notes: tuple[str, ...] = ()
    in_flight: int = 0


def traffic_of(asked: Asked) -> Traffic:
    """Read or draw the trace.

    Raises
    ------
    ProblemsError
        Options that contradict one another, or a file that cannot be read.
    InfeasibleError
        Nothing is left to serve.
    """
    _check(asked)
    if asked.path is None:
        trace, notes = _drawn(asked)
        return Traffic(trace=trace, notes=notes, in_flight=asked.in_flight)
    found = _described(asked) if asked.spec else _read(asked)
    return Traffic(trace=_scaled(found.trace, asked), notes=found.notes, in_flight=found.in_flight)


def _check(asked: Asked) -> None:
    """Every contradiction at once."""
    problems = [
        Problem(path=path, value="", message=message, remedy=remedy)
        for wrong, path, message, remedy in (
            (
                asked.path is None and asked.rate is None and not asked.in_flight,
                "--rate",
                "without a trace requests need a rate",
                "give --rate 10, or --in-flight 32 for a closed loop",
            ),
            (
                asked.rate is not None and not 0.0 < asked.rate < float("inf"),
                "--rate",
                "must be above 0",
                "give requests per second",
            ),
            (
                asked.rate is not None and asked.in_flight > 0,
                "--in-flight",
                "a closed loop has no rate",
                "leave out --rate or --in-flight",
            ),
            (
                asked.path is None and (asked.speed is not None or asked.thin),
                "--speed, --thin",
                "are for a trace",
                "give --rate",
            ),
            (
                asked.speed is not None and asked.rate is not None,
                "--speed",
                "and --rate exclude one another",
                "leave one out",
            ),
            (
                asked.thin and asked.rate is None,
                "--thin",
                "needs a rate to reach",
                "add --rate",
            ),
            (
                asked.path is not None and bool(asked.lengths_given),
                asked.lengths_given,
                "the lengths and gaps are those of the file",
                "leave it out",
            ),
            (
                (asked.path is None or asked.spec) and bool(asked.reading_given),
                asked.reading_given,
                "is for a trace",
                "write it into the spec" if asked.spec else "leave it out",
            ),
            (
                asked.path is None and asked.in_flight > 0 and asked.cv is not None,
                "--cv",
                "a closed loop has no gaps",
                "leave it out",
            ),
            (
                asked.duration_s is not None and not asked.duration_s > 0.0,
                "--duration",
                "must be above 0",
                "give seconds",
            ),
            (
                asked.duration_s is not None and asked.in_flight > 0,
                "--duration",
                "a closed loop has no arrivals to cut",
                "give --requests",
            ),
        )
        if wrong
    ]
    if problems:
        raise ProblemsError("traffic", problems)


def _drawn(asked: Asked) -> tuple[Trace, tuple[str, ...]]:
    """Requests of one client that knows nothing of the others."""
    from tapeout.serving.traffic import make_trace_with_notes  # noqa: PLC0415

    by_time = asked.duration_s is not None and asked.requests is None
    trace, notes = make_trace_with_notes(_spec(asked), asked.seed)
    return trace if by_time else _until(trace, asked.duration_s), notes


def _spec(asked: Asked) -> TrafficSpec:
    """Describe the one client."""
    from tapeout.serving.traffic.spec import check_spec  # noqa: PLC0415

    lengths = {
        "input": asked.input_tokens or USUAL_INPUT,
        "output": asked.output_tokens or USUAL_OUTPUT,
    }
    cv = 1.0 if asked.cv is None else asked.cv
    client: dict[str, object] = {
        name: {"kind": "lognormal", "mean": tokens, "cv": asked.length_cv}
        if asked.length_cv
        else {"kind": "fixed", "tokens": tokens}
        for name, tokens in lengths.items()
    }
    if not asked.in_flight:
        family = {"family": "poisson"} if cv == 1.0 else {"family": "gamma", "cv": cv}
        client["arrivals"] = family | {"rate_rps": asked.rate}
    by_time = asked.duration_s is not None and asked.requests is None
    end = {"duration_s": asked.duration_s} if by_time else {
        "requests": asked.requests or USUAL_REQUESTS
    }  # fmt: skip
    loop = {"closed_loop": asked.in_flight} if asked.in_flight else {}
    raw = {"clients": [client], "max_model_len": asked.max_model_len} | end | loop
    try:
        return check_spec(raw, "traffic")
    except ProblemsError as error:
        raise ProblemsError("traffic", [_as_option(one) for one in error.problems]) from error


def _as_option(problem: Problem) -> Problem:
    """Name the option instead of the key of a spec that nobody wrote."""
    key = problem.path.removeprefix("clients[0].")
    for name, option in NAMES.items():
        if key.startswith(name) or key.endswith(name):
            return replace(problem, path=option)
    return problem


def stream_of(asked: Asked) -> tuple[Stream, tuple[str, ...]]:
    """Traffic at one request a second for a search of the rate, and what its reader had to say.

    Raises
    ------
    ProblemsError
        Options that fix the rate, or a file that cannot be read.
    """
    from tapeout.serving.search import DrawnStream, TraceStream  # noqa: PLC0415

    fixed = {
        "--thin": asked.thin, "--speed": asked.speed,
        "--in-flight": asked.in_flight, "--duration": asked.duration_s,
    }  # fmt: skip
    problems = [
        Problem(path=path, value="", message="fixes the load that --max-load looks for",
                remedy="leave it out")
        for path, value in fixed.items() if value
    ]  # fmt: skip
    if problems:
        raise ProblemsError("--max-load", problems)
    if asked.path is None:
        drawn = replace(asked, rate=1.0, requests=None)
        _check(drawn)
        return DrawnStream(_spec(drawn), asked.seed), ()
    found = traffic_of(asked)
    if found.in_flight:
        raise InfeasibleError(f"{asked.path} is a closed loop, which has no rate to look for")
    return TraceStream(found.trace), found.notes


def _described(asked: Asked) -> Traffic:
    """Traffic of a spec; its closed loop is kept unless the command line names one."""
    from tapeout.serving.traffic import make_trace_with_notes, read_spec  # noqa: PLC0415

    assert asked.path is not None
    spec = read_spec(asked.path)
    longest = [one for one in (asked.max_model_len, spec.max_model_len) if one is not None]
    if longest:
        spec = spec.model_copy(update={"max_model_len": min(longest)})
    trace, notes = make_trace_with_notes(spec, asked.seed)
    return Traffic(trace=trace, notes=notes, in_flight=asked.in_flight or spec.closed_loop or 0)


def _read(asked: Asked) -> Traffic:
    """A trace file, with what was left out."""
    from tapeout.serving.traffic import ReadOptions, read_trace  # noqa: PLC0415

    assert asked.path is not None
    options = ReadOptions(
        format=asked.form,
        sort=asked.sort,
        requests=None if asked.thin else asked.requests,
        max_model_len=asked.max_model_len,
        seed=asked.seed,
        rate_rps=asked.rate if not asked.in_flight else 1.0,
    )
    trace, report = read_trace(asked.path, options)
    dropped = tuple(one.words for one in report.dropped)
    return Traffic(trace=trace, notes=(*report.notes, *dropped), in_flight=asked.in_flight)


def _scaled(trace: Trace, asked: Asked) -> Trace:
    """The trace at the rate or speed that was asked for, then cut."""
    import numpy as np  # noqa: PLC0415

    from tapeout.serving.traffic import mean_rate_rps, scale_time, take, thin  # noqa: PLC0415

    if asked.rate is not None:
        trace = thin(trace, asked.rate, asked.seed) if asked.thin else scale_time(trace, asked.rate)
    elif asked.speed is not None:
        trace = scale_time(trace, asked.speed * mean_rate_rps(trace))
    if asked.requests is not None and trace.requests > asked.requests:
        trace = take(trace, np.arange(asked.requests))
    return _until(trace, asked.duration_s)


def _until(trace: Trace, end_s: float | None) -> Trace:
    """Requests that arrive before a time."""
    if end_s is None:
        return trace
    from tapeout.serving.traffic import time_window  # noqa: PLC0415

    if not trace.requests or float(trace.arrival_s[0]) >= end_s:
        raise InfeasibleError(f"no request arrives within {end_s:g} s; give more --duration")
    return time_window(trace, 0.0, end_s)
