"""Traffic described in a TOML file: docs/traffic.md lists every key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from tapeout.errors import Problem, ProblemsError, did_you_mean, nearest
from tapeout.serving.traffic.arrivals import LEAST_CV, MOST_CV
from tapeout.serving.traffic.generate import MOST_REQUESTS
from tapeout.serving.traffic.lengths import MOST_TOKENS
from tapeout.serving.traffic.trace import MOST_SECONDS

MOST_RPS = 1e7
MOST_CLIENTS = 100_000
LARGEST_BYTES = 1 << 24

Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]
Seconds = Annotated[float, Field(ge=0, le=MOST_SECONDS, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=MOST_RPS, allow_inf_nan=False)]


def _printable(name: str) -> str:
    if not name.isprintable():
        raise ValueError("names have no control characters")
    return name


Name = Annotated[str, Field(max_length=80), AfterValidator(_printable)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FixedTokens(_Section):
    """Always the same."""

    kind: Literal["fixed"]
    tokens: Tokens


class LogNormalTokens(_Section):
    """Lognormal by mean and coefficient of variation."""

    kind: Literal["lognormal"]
    mean: float = Field(ge=1, le=MOST_TOKENS, allow_inf_nan=False)
    cv: float = Field(ge=0, le=MOST_CV, allow_inf_nan=False)
    most: Tokens = MOST_TOKENS


class HistogramTokens(_Section):
    """Values with weights."""

    kind: Literal["histogram"]
    values: Annotated[list[Tokens], Field(min_length=1)]
    weights: Annotated[
        list[Annotated[float, Field(ge=0, allow_inf_nan=False)]], Field(min_length=1)
    ]

    @model_validator(mode="after")
    def _same_length(self) -> Self:
        if len(self.values) != len(self.weights):
            raise ValueError("as many weights as values are needed")
        if not sum(self.weights) > 0.0:
            raise ValueError("one weight at least must be positive")
        return self


Plain = Annotated[FixedTokens | LogNormalTokens | HistogramTokens, Field(discriminator="kind")]


class MixtureTokens(_Section):
    """Another distribution in a share of the cases: answers with long reasoning."""

    kind: Literal["mixture"]
    usual: Plain
    other: Plain
    share: float = Field(ge=0, le=1)


TokenSection = Annotated[
    FixedTokens | LogNormalTokens | HistogramTokens | MixtureTokens, Field(discriminator="kind")
]


class ArrivalSection(_Section):
    """A renewal process, at one rate or at rates that repeat window by window."""

    family: Literal["poisson", "gamma", "weibull"] = "poisson"
    cv: float = Field(default=1.0, ge=LEAST_CV, le=MOST_CV, description="of the gaps")
    rate_rps: Rate | None = Field(default=None, description="requests (sessions) per second")
    rates_rps: (
        Annotated[
            list[Annotated[float, Field(ge=0, le=MOST_RPS, allow_inf_nan=False)]],
            Field(min_length=1, max_length=100_000),
        ]
        | None
    ) = Field(default=None, description="one rate for every window, then again from the first")
    window_s: float | None = Field(default=None, gt=0, le=MOST_SECONDS)

    @model_validator(mode="after")
    def _one_rate(self) -> Self:
        if (self.rate_rps is None) == (self.rates_rps is None):
            raise ValueError("give either rate_rps, or rates_rps and window_s")
        if (self.rates_rps is None) != (self.window_s is None):
            raise ValueError("rates_rps and window_s belong together")
        if self.rates_rps is not None and not sum(self.rates_rps) > 0.0:
            raise ValueError("one rate at least must be positive")
        if self.family == "poisson" and self.cv != 1.0:
            raise ValueError("Poisson gaps have cv 1; choose gamma or weibull")
        return self


class SessionSection(_Section):
    """Turns whose prompts begin with what was said before."""

    turns: float = Field(ge=1, le=10_000, description="mean number")
    spread: Literal["geometric", "fixed"] = "geometric"
    think_s: Seconds = 0.0
    think_cv: float = Field(default=1.0, ge=0, le=MOST_CV)
    max_context_tokens: Tokens | None = None


class PrefixSection(_Section):
    """Prompts that all requests of a client begin with."""

    shared_tokens: Tokens
    groups: int = Field(default=1, ge=1, le=1_000_000, description="different ones, equally often")


class LengthFile(_Section):
    """Lengths of a file, drawn again as pairs."""

    path: str
    format: str | None = None


class ClientSection(_Section):
    """One client, or several alike."""

    name: Name = ""
    count: int = Field(default=1, ge=1, le=MOST_CLIENTS, description="so many, each at this rate")
    slo_class: Name = ""
    arrivals: ArrivalSection | None = None
    input: TokenSection | None = None
    output: TokenSection | None = None
    lengths: LengthFile | None = None
    prefix: PrefixSection | None = None
    sessions: SessionSection | None = None

    @model_validator(mode="after")
    def _has_lengths(self) -> Self:
        both = self.input is not None and self.output is not None
        none = self.input is None and self.output is None
        if not (both if self.lengths is None else none):
            raise ValueError("give input and output, or lengths")
        return self


class TraceSection(_Section):
    """A file to replay."""

    path: str
    format: str | None = None
    sort: bool = False
    keep_failures: bool = False
    spread: bool = True
    block_tokens: int | None = Field(default=None, ge=1)
    from_s: Seconds | None = None
    to_s: Seconds | None = None
    rate_rps: Rate | None = Field(default=None, description="bring it to this mean rate")
    method: Literal["time", "thin"] = "time"
    arrivals: ArrivalSection | None = Field(default=None, description="for files of lengths")


class ServegenSection(_Section):
    """Statistics of clients."""

    path: str
    lengths: str | None = None
    clients: list[int] | None = None
    from_s: Seconds | None = None
    to_s: Seconds | None = None
    rate_factor: float = Field(default=1.0, gt=0, le=1e6)


class TrafficSpec(_Section):
    """What requests come: one of `clients`, `trace` and `servegen`.

    `closed_loop` is the number of requests in flight; a simulator that knows it sends the next
    when one ends. Then clients need no arrivals, and all times are 0.
    """

    clients: Annotated[list[ClientSection], Field(max_length=MOST_CLIENTS)] = []
    trace: TraceSection | None = None
    servegen: ServegenSection | None = None
    duration_s: float | None = Field(default=None, gt=0, le=MOST_SECONDS)
    requests: int | None = Field(default=None, ge=1, le=MOST_REQUESTS)
    closed_loop: int | None = Field(default=None, ge=1, le=10_000_000)
    token_factor: float = Field(default=1.0, gt=0, le=1000)
    max_model_len: Tokens | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.clients) + (self.trace is not None) + (self.servegen is not None) != 1:
            raise ValueError("give one of [[clients]], [trace] and [servegen]")
        if self.closed_loop is not None:
            self._check_closed()
        elif self.clients:
            if (self.duration_s is None) == (self.requests is None):
                raise ValueError("give either duration_s or requests")
            if any(one.arrivals is None for one in self.clients):
                raise ValueError("every client needs arrivals")
        elif self.duration_s is not None:
            raise ValueError("duration_s is for clients; give from_s and to_s")
        return self

    def _check_closed(self) -> None:
        if not self.clients or self.requests is None or self.duration_s is not None:
            raise ValueError("a closed loop needs clients and a number of requests, no duration")
        if any(one.arrivals or one.sessions for one in self.clients):
            raise ValueError("in a closed loop clients have neither arrivals nor sessions")


def read_spec(path: Path | str) -> TrafficSpec:
    """Read a traffic spec; files in it are looked for beside it.

    Raises
    ------
    ProblemsError
        Everything that is wrong with it.
    """
    path = Path(path)
    what = f"traffic spec {path}"
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise _whole(what, path, f"more than {LARGEST_BYTES:,} bytes", "give the TOML")
        raw = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise _whole(what, path, f"cannot be read ({error.strerror})", "see docs/traffic.md") from (
            error
        )
    except UnicodeDecodeError as error:
        raise _whole(what, path, f"not UTF-8 (byte {error.start})", "save it as UTF-8") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _whole(what, path, f"not TOML: {error}", "see docs/traffic.md") from error
    spec = check_spec(raw, what)
    outside = list(_outside(spec))
    if outside:
        raise ProblemsError(what, outside)
    return _resolved(spec, path.parent)


def check_spec(raw: dict[str, Any], what: str) -> TrafficSpec:
    """Make a spec of its keys.

    Parameters
    ----------
    raw : dict
    what : str
        Named in the error.

    Raises
    ------
    ProblemsError
        Everything that is wrong with it.
    """
    try:
        return TrafficSpec.model_validate(raw)
    except ValidationError as error:
        raise ProblemsError(what, [_problem(one) for one in error.errors()]) from error


def _outside(spec: TrafficSpec) -> Iterator[Problem]:
    """Paths that leave the folder of the spec: one from elsewhere must not open other files."""
    named = {} if spec.trace is None else {"trace.path": spec.trace.path}
    if spec.servegen is not None:
        named |= {"servegen.path": spec.servegen.path}
        named |= {"servegen.lengths": spec.servegen.lengths or ""}
    for place, client in enumerate(spec.clients):
        if client.lengths is not None:
            named[f"clients[{place}].lengths.path"] = client.lengths.path
    for where, name in named.items():
        windows = PureWindowsPath(name)  # knows both slashes
        if windows.drive or windows.root or ".." in windows.parts:
            yield Problem(
                path=where,
                value=repr(name)[:60],
                message="lies outside of the folder of the spec",
                remedy="put the file beside the spec",
            )


def _resolved(spec: TrafficSpec, folder: Path) -> TrafficSpec:
    """The same with paths beside the file."""

    def beside(name: str | None) -> str | None:
        return None if name is None else str(folder / name)

    changes: dict[str, object] = {}
    if spec.trace is not None:
        changes["trace"] = spec.trace.model_copy(update={"path": beside(spec.trace.path)})
    if spec.servegen is not None:
        found = {key: beside(getattr(spec.servegen, key)) for key in ("path", "lengths")}
        changes["servegen"] = spec.servegen.model_copy(update=found)
    changes["clients"] = [
        one
        if one.lengths is None
        else one.model_copy(
            update={"lengths": one.lengths.model_copy(update={"path": beside(one.lengths.path)})}
        )
        for one in spec.clients
    ]
    return spec.model_copy(update=changes)


def _whole(what: str, path: Path, message: str, remedy: str) -> ProblemsError:
    return ProblemsError(what, [Problem(path=path.name, value="", message=message, remedy=remedy)])


_KEYS = {
    key
    for section in (
        TrafficSpec,
        ClientSection,
        ArrivalSection,
        SessionSection,
        PrefixSection,
        TraceSection,
        ServegenSection,
        LogNormalTokens,
        MixtureTokens,
        HistogramTokens,
    )
    for key in section.model_fields
}


def _problem(error: Any) -> Problem:
    """A pydantic error with a dotted path: clients[2].arrivals.cv."""
    path = ""
    for part in error["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    remedy = ""
    if error["type"] == "extra_forbidden":
        close = nearest(str(error["loc"][-1]), _KEYS)
        remedy = f"did you mean {did_you_mean(close)}?" if close else "remove it"
    is_shown = error["type"] not in ("missing", "value_error")
    return Problem(
        path=path or "spec",
        value=repr(error["input"])[:60] if is_shown else "",
        message=str(error["msg"]).removeprefix("Value error, ").lower(),
        remedy=remedy,
    )
