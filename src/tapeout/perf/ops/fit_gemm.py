"""Fit the constants of the GEMM law to measured products of one chip, stack, format and kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields, replace

import numpy as np

from tapeout.chip.types import ChipSpec
from tapeout.constants import Z80
from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.gemm import Experts, GemmConstants, GemmRates, expert_ffn_s, gemm_s
from tapeout.perf.ops.gemm_rates import copies_of, formats_of, rates_for
from tapeout.perf.ops.split import require_fit_part

NAMES = tuple(field.name for field in fields(GemmConstants))
LIMITS: dict[str, tuple[float, float]] = {
    "compute_fraction": (0.3, 1.3),
    "memory_fraction": (0.2, 1.1),
    "core_memory": (0.4, 6.0),
    "l2_ratio": (1.0, 15.0),
    "fill_depth": (1.0, 1500.0),
    "static_share": (0.01, 1.0),
    "launch_s": (1e-8, 3e-4),
    "prologue_s": (1e-7, 1e-5),
    "epilogue_s": (1e-10, 5e-6),
    "throttle": (0.4, 1.0),
    "hold": (0.05, 3.0),
    "step_s": (1e-13, 2e-9),
    "quantise_s": (1e-8, 3e-4),
    "quantise_ratio": (0.02, 6.0),
}
GENERIC = GemmConstants(
    # between the constants of three GPUs (timing reference, section 2.1); a start, no claim
    compute_fraction=1.05,
    memory_fraction=0.8,
    core_memory=2.0,
    l2_ratio=4.0,
    fill_depth=200.0,
    static_share=0.3,
    launch_s=5e-7,
    prologue_s=2e-6,
    epilogue_s=1e-7,
    throttle=0.85,
    hold=0.2,
    step_s=2e-10,
)
QUANTISING = {"quantise_s": 2e-6, "quantise_ratio": 0.5}  # start where activations are quantised
CLIP = 0.7  # an outlier beyond a factor of two pulls no further
MOST_ROWS = 2000
PRIOR_LOG_SD = 0.5  # of a constant around its start; only few measurements feel it
PASSES = 2
EVALUATIONS = 800  # of each pass of the simplex
STARTS = 2
ANCHOR_LOG_SD = 0.7  # how far the rates and the launch of another chip may be off
NOISE_LOG_SD = 0.05  # of a measured row
FLAT_LOG_SD = 1.0  # stated for a constant that the measurements leave open


@dataclass(frozen=True, slots=True, kw_only=True)
class FitError:
    """Errors |t/y - 1| of a fit on rows, its signed median, and the scale of its 80 % band."""

    rows: int
    median: float
    p90: float
    bias: float
    log_sd: float

    @classmethod
    def of(cls, log_error: Floats) -> FitError:
        """Summarise log(predicted / measured), shape (row,)."""
        error = np.expm1(log_error)
        return cls(
            rows=int(log_error.size),
            median=float(np.median(np.abs(error))),
            p90=float(np.quantile(np.abs(error), 0.9)),
            bias=float(np.median(error)),
            log_sd=float(np.quantile(np.abs(log_error), 0.8)) / Z80,
        )


@dataclass(frozen=True, slots=True)
class Table:
    """Measured products of one set-up as arrays, shape (row,)."""

    m: Floats
    n: Floats
    k: Floats
    measured_s: Floats
    rates: GemmRates
    experts: Experts | None = None

    def log_error(self, constants: GemmConstants) -> Floats:
        """log(predicted / measured), shape (row,)."""
        shape = (self.m, self.n, self.k)
        if self.experts is None:
            time_s = gemm_s(*shape, self.rates, constants)
        else:
            time_s = expert_ffn_s(*shape, self.experts, self.rates, constants)
        error: Floats = np.log(time_s / self.measured_s)
        return error

    def some(self, rows: int, seed: int) -> Table:
        """A random sample of at most `rows`."""
        if self.m.size <= rows:
            return self
        chosen = np.random.default_rng(seed).choice(self.m.size, rows, replace=False)
        experts = self.experts and Experts(
            active=self.experts.active[chosen], topk=self.experts.topk[chosen]
        )
        m, n, k, measured_s = (
            column[chosen] for column in (self.m, self.n, self.k, self.measured_s)
        )
        return Table(m, n, k, measured_s, self.rates, experts)


def table_of(cases: Sequence[OpCase], chip: ChipSpec) -> Table:
    """Arrays of the cases of one set-up.

    Raises
    ------
    InfeasibleError
        No cases, or cases of several formats, or one without a shape or a time.
    """
    if not cases:
        raise InfeasibleError("no measurement to fit to")
    for case in cases:
        case.needs("m", "n", "k", "measured_s")
    kinds = {(*formats_of(case)[:2], copies_of(case)) for case in cases}
    if len(kinds) > 1:
        raise InfeasibleError(f"several formats in one fit: {sorted(map(str, kinds))}")
    act, weight, copies = kinds.pop()
    m, n, k, measured_s = np.array([(one.m, one.n, one.k, one.measured_s) for one in cases]).T
    rates = rates_for(chip, act, weight, copies)
    if cases[0].op != "grouped_gemm":
        return Table(m, n, k, measured_s, rates)
    hit = np.array([(case.active_experts, case.topk) for case in cases]).T
    return Table(m, n, k, measured_s, rates, Experts(active=hit[0], topk=hit[1]))


def fit_gemm(
    cases: Sequence[OpCase], chip: ChipSpec, start: GemmConstants | None = None, *, seed: int = 0
) -> tuple[GemmConstants, Floats, FitError]:
    """Constants that minimise the mean clipped |log(t/y)| over cases of the fit part.

    Nelder-Mead from `start` (by default a generic GPU and a perturbed one), restarted; a weak
    prior of half a log unit around the start keeps constants that few rows leave open.

    Parameters
    ----------
    cases : sequence of OpCase
        Measured gemm cases of one chip, stack, format and kernel.
    chip : ChipSpec
        The chip they were measured on.
    start : GemmConstants or None
        Where to start; with quantise terms of 0 those stay 0.

    Returns
    -------
    constants : GemmConstants
    covariance : array, shape (constant, constant)
        Of the log constants, in the order of GemmConstants (Gauss-Newton, robust scale).
    error : FitError
        In sample.

    Raises
    ------
    InfeasibleError
        A case of the report part, or one that cannot be fitted to.
    """
    require_fit_part(cases)
    table = table_of(cases, chip)
    quantised = table.rates.activation_bytes < 2.0
    first = start or seeing(table, _generic(quantises=quantised))
    constants = fit_table(table, first, seed=seed)
    error = table.log_error(constants)
    return constants, _covariance(table.some(MOST_ROWS, seed), constants), FitError.of(error)


def seeing(table: Table, start: GemmConstants) -> GemmConstants:
    """Start from which the clipped loss is not blind: a host's launch may be 100 us and more."""
    if float(np.median(np.abs(table.log_error(start)))) <= CLIP:
        return start
    launch_s = 0.8 * float(table.measured_s.min())
    return replace(start, launch_s=max(start.launch_s, launch_s))


def _generic(*, quantises: bool) -> GemmConstants:
    values = dict(zip(NAMES, astuple(GENERIC), strict=True))
    return GemmConstants(**values | (QUANTISING if quantises else {}))


def anchor_gemm(cases: Sequence[OpCase], chip: ChipSpec, start: GemmConstants) -> GemmConstants:
    """Borrowed constants moved by a user's few rows: one factor on all rates, and the launch.

    Two numbers for about five rows; the shape of the law stays that of `start`, whose launch is
    the first guess. The rows are the user's own, so no part of a split is asked for.
    """
    table = table_of(cases, chip)

    def moved(x: Floats) -> GemmConstants:
        speed, launch = float(np.exp(x[0])), float(np.exp(x[1]))
        return replace(
            start,
            compute_fraction=start.compute_fraction * speed,
            memory_fraction=start.memory_fraction * speed,
            l2_ratio=start.l2_ratio * speed,
            launch_s=start.launch_s * launch,
        )

    def loss(x: Floats) -> float:
        pull = float(np.sum((x / ANCHOR_LOG_SD) ** 2)) / (2.0 * table.m.size)
        return float(np.mean(np.abs(table.log_error(moved(x))))) + NOISE_LOG_SD * pull

    return moved(_descend(loss, np.zeros(2)))


def fit_table(table: Table, start: GemmConstants, *, seed: int = 0) -> GemmConstants:
    """Constants fitted to a table; see `fit_gemm`."""
    sample = table.some(MOST_ROWS, seed)
    free = [name for name in NAMES if getattr(start, name) > 0.0]
    low = np.log([LIMITS[name][0] for name in free])
    high = np.log([LIMITS[name][1] for name in free])
    centre = np.clip(np.log([getattr(start, name) for name in free]), low, high)
    fixed = dict(zip(NAMES, astuple(start), strict=True))

    def constants(x: Floats) -> GemmConstants:
        values = [float(value) for value in np.exp(np.clip(x, low, high))]
        return GemmConstants(**fixed | dict(zip(free, values, strict=True)))

    def loss(x: Floats) -> float:
        misfit = np.minimum(np.abs(sample.log_error(constants(x))), CLIP)
        pull = 0.5 * np.sum(((x - centre) / PRIOR_LOG_SD) ** 2) / sample.m.size
        beyond = np.sum(np.maximum(low - x, 0.0) + np.maximum(x - high, 0.0))
        return float(np.mean(misfit) + CLIP * pull + beyond)

    rng = np.random.default_rng(seed)
    jumps = [np.zeros(centre.size), *rng.normal(0.0, 0.3, (STARTS - 1, centre.size))]
    found = [_descend(loss, np.clip(centre + jump, low, high)) for jump in jumps]
    return constants(min(found, key=loss))


def _descend(loss: Callable[[Floats], float], x: Floats) -> Floats:
    from scipy.optimize import minimize  # noqa: PLC0415  (loads slowly)

    options = {"maxfev": EVALUATIONS, "adaptive": True, "xatol": 1e-3, "fatol": 1e-5}
    for _ in range(PASSES):
        spread = np.vstack([x, x + 0.25 * np.eye(x.size)])
        x = minimize(loss, x, method="Nelder-Mead", options=options | {"initial_simplex": spread}).x
    return x


def _covariance(table: Table, constants: GemmConstants) -> Floats:
    """Covariance of the log constants: noise variance times the inverse of J'J plus the prior."""
    step = 0.02
    base = table.log_error(constants)
    noise = max(float(np.median(np.abs(base))) * 1.4826, 1e-3)  # normal-consistent MAD
    columns = []
    for name in NAMES:
        values = dict(zip(NAMES, astuple(constants), strict=True))
        values[name] *= float(np.exp(step))
        columns.append((table.log_error(GemmConstants(**values)) - base) / step)
    jacobian = np.column_stack(columns)
    precision = jacobian.T @ jacobian / noise**2 + np.eye(len(NAMES)) / FLAT_LOG_SD**2
    return np.asarray(np.linalg.inv(precision), dtype=np.float64)
