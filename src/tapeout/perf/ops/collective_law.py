"""Constants of a collective and how they are found from measurements.

The law is `fabric.RouteLaw`; this module names its constants, reads them from flat tables, fits
them, and smooths what the law leaves over (message size, ranks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapeout.constants import MICRO
from tapeout.fabric.routes import Route, RouteLaw, Volume
from tapeout.numerics import Floats
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.ops.split import require_fit_part

LOSS_SCALE = (
    0.06  # soft L1: errors beyond this count linearly, so a kink of the library is no lever
)
PULL = 0.01  # weight of the start values; keeps what the data do not determine near them
SMOOTH_LOG2_BYTES = 1.0  # width of the smoother, in doublings of the message
RANKS_PER_SIZE = 2.0  # a doubling of the ranks is as far as two doublings of the message
SMOOTH_PRIOR = 0.1  # weight of "no residual"; a lone far point says little
FADE_DOUBLINGS = 3.0  # outside the measured sizes the residual runs out over this many
MOST_LOG = 60.0  # of a constant; keeps trial steps of the fit finite
STEP_LOGS = (-3.0, 0.7)  # q from 0.05 to 2: no library's steps grow faster than a ring's do

FORMS: dict[str, dict[str, tuple[Volume, int]]] = {
    # form: route name: (volume, fewest ranks)
    "library": {
        "words": (Volume.RING, 2),
        "lines": (Volume.RING, 2),
        "chunks": (Volume.RING, 2),
    },
    "library in-switch": {
        "words": (Volume.RING, 2),
        "lines": (Volume.RING, 2),
        "chunks": (Volume.RING, 2),
        "switch": (Volume.IN_SWITCH, 8),
    },
    "shots": {
        "shot": (Volume.ONE_SHOT, 2),
        "lines": (Volume.RING, 2),
        "chunks": (Volume.RING, 2),
    },
}
START = {
    # route: (base [us], hop [us], share of the link)
    "words": (4.0, 1.0, 0.05),
    "lines": (8.0, 1.6, 0.3),
    "chunks": (15.0, 2.0, 0.9),
    "switch": (20.0, 0.1, 0.8),
    "shot": (4.0, 0.3, 0.5),
}
SECOND_START = {
    "words": (4.0, 0.5, 0.02),
    "lines": (10.0, 1.0, 0.15),
    "chunks": (20.0, 2.0, 0.8),
    "switch": (15.0, 0.1, 0.9),
    "shot": (8.0, 0.1, 0.9),
}
EXPONENTS = ("step_exponent", "rate_exponent")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveConstants:
    """Form and constants of one operation of one library on one chip.

    Attributes
    ----------
    form : str
        A key of `FORMS`.
    values : mapping of name to value
        `ROUTE_base_s`, `ROUTE_hop_s`, `ROUTE_rate_fraction` of every route of the form,
        `step_exponent`, `rate_exponent`.
    """

    form: str
    values: Mapping[str, float]

    def law(self) -> RouteLaw:
        """Law with these constants."""
        routes = tuple(
            Route(
                base_s=self.values[f"{name}_base_s"],
                hop_s=self.values[f"{name}_hop_s"],
                rate_fraction=self.values[f"{name}_rate_fraction"],
                volume=volume,
                from_ranks=fewest,
            )
            for name, (volume, fewest) in FORMS[self.form].items()
        )
        return RouteLaw(
            routes=routes,
            step_exponent=self.values["step_exponent"],
            rate_exponent=self.values["rate_exponent"],
        )


def form_of(values: Mapping[str, float]) -> str:
    """Form that a flat table of constants is of, by the routes it names.

    Raises
    ------
    ValueError
        No form has exactly these routes (our own bug: tables are written by the fit).
    """
    routes = {name.removesuffix("_base_s") for name in values if name.endswith("_base_s")}
    for form, members in FORMS.items():
        if routes == members.keys():
            return form
    raise ValueError(f"no form has the routes {sorted(routes)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Measurements of one set-up as arrays, shape (row,)."""

    operation: str
    ranks: Floats
    message_bytes: Floats
    measured_s: Floats
    adds: np.ndarray  # bool: a floating-point format, which a switch can add

    def law_s(self, law: RouteLaw, bytes_per_s: float) -> Floats:
        """Time of every row under a law. [s]."""
        return law.time_s(
            self.operation, self.message_bytes, self.ranks, bytes_per_s, adds=self.adds
        )

    def where(self, chosen: np.ndarray) -> Table:
        """Rows of a mask."""
        return Table(
            operation=self.operation,
            ranks=self.ranks[chosen],
            message_bytes=self.message_bytes[chosen],
            measured_s=self.measured_s[chosen],
            adds=self.adds[chosen],
        )


def can_add(dtype: str) -> bool:
    """Whether a switch adds numbers of this format: in hardware it has floating point alone.

    On eight H100 the jump of a large all-reduce (96 % of a direction's bus bandwidth at 268 MB) is
    there for fp16 and missing for int8 (76 %).
    """
    return not dtype.startswith(("int", "uint"))


def table(cases: Sequence[OpCase]) -> Table:
    """Cases of one operation as arrays; the operation is that of the first."""
    operation = cases[0].op
    return Table(
        operation="send" if operation == "send_recv" else operation,
        ranks=np.array([case.n_chips for case in cases]),
        message_bytes=np.array([case.message_bytes for case in cases]),
        measured_s=np.array([case.measured_s for case in cases]),
        adds=np.array([can_add(case.dtype) for case in cases]),
    )


def names(form: str) -> tuple[str, ...]:
    """Constants of a form, in the order of the vector that is fitted."""
    parts = ("base_s", "hop_s", "rate_fraction")
    routes = tuple(f"{route}_{part}" for route in FORMS[form] for part in parts)
    return (*EXPONENTS, *routes)


def _start(form: str, table_: Mapping[str, tuple[float, float, float]]) -> Floats:
    values = [np.log(0.8), 0.0]
    for route in FORMS[form]:
        base, hop, rate = table_[route]
        values += [np.log(base * MICRO), np.log(hop * MICRO), np.log(rate)]
    return np.array(values)


def constants(form: str, vector: Floats) -> CollectiveConstants:
    """Constants of a fitted vector: logarithms, apart from the rate exponent."""
    safe = np.clip(vector, -MOST_LOG, MOST_LOG)
    safe[0] = np.clip(safe[0], *STEP_LOGS)
    values = dict(zip(names(form), np.exp(safe).tolist(), strict=True))
    values["rate_exponent"] = float(safe[1])
    return CollectiveConstants(form=form, values=values)


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectiveFit:
    """Result of a fit: constants, and the covariance of the vector they were found as."""

    constants: CollectiveConstants
    covariance: Floats


def fit_collective(
    cases: Sequence[OpCase], bytes_per_s: float, form: str, start: Floats | None = None
) -> CollectiveFit:
    """Fit the constants of one operation of one set-up.

    Parameters
    ----------
    cases : sequence of OpCase
        Rows of the fit part with a measured time; one operation.
    bytes_per_s : float
        Link rate of the chip, one direction. [B/s]
    form : str
        A key of `FORMS`.
    start : array, optional
        Vector to start from; without one, two of the reference's range are tried.

    Raises
    ------
    InfeasibleError
        A row lies in a reported group.
    """
    require_fit_part(cases)
    return fit_table(table(cases), bytes_per_s, form, start)


def fit_table(
    data: Table, bytes_per_s: float, form: str, start: Floats | None = None
) -> CollectiveFit:
    """As `fit_collective`, from arrays: for folds, whose rows were checked already."""
    from scipy.optimize import least_squares  # noqa: PLC0415 - heavy to import

    starts = (_start(form, START), _start(form, SECOND_START)) if start is None else (start,)
    best = None
    for first in starts:

        def loss(vector: Floats, first: Floats = first) -> Floats:
            law = constants(form, vector).law()
            time = data.law_s(law, bytes_per_s)
            return np.concatenate([np.log(time / data.measured_s), PULL * (vector - first)])

        found = least_squares(loss, first, loss="soft_l1", f_scale=LOSS_SCALE, max_nfev=300)
        if best is None or found.cost < best.cost:
            best = found
    assert best is not None  # at least one start
    errors = best.fun[: data.measured_s.size]
    variance = float(np.median(np.abs(errors)) / 0.6745) ** 2  # robust: kinks are not noise
    covariance = variance * np.linalg.pinv(best.jac.T @ best.jac)
    return CollectiveFit(constants=constants(form, best.x), covariance=covariance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """Smoothed logarithm of measured over law, on a grid of message size and ranks.

    Attributes
    ----------
    first_log2_bytes : float
        Size of the first column; the next is twice as large.
    ranks : tuple of int
        Rows of the grid, increasing.
    log_ratio : tuple of tuple of float, shape (ranks, size)
    """

    first_log2_bytes: float
    ranks: tuple[int, ...]
    log_ratio: tuple[tuple[float, ...], ...]

    def at(self, message_bytes: float, ranks: float) -> float:
        """Linear between nodes; runs out over three doublings outside the measured sizes.

        Other than measured numbers of ranks take a mean of their neighbours; beyond them none.
        """
        place = np.log2(message_bytes) - self.first_log2_bytes
        last = len(self.log_ratio[0]) - 1
        outside = max(0.0, -place, place - last)
        fade = max(0.0, 1.0 - outside / FADE_DOUBLINGS)
        if not self.ranks[0] <= ranks <= self.ranks[-1]:
            return 0.0
        rows = [np.interp(place, np.arange(last + 1), row) for row in self.log_ratio]
        return float(fade * np.interp(np.log2(ranks), np.log2(self.ranks), rows))


def residual(data: Table, law: RouteLaw, bytes_per_s: float) -> Residual:
    """Smooth what a law leaves over: a Gaussian mean over sizes and ranks, drawn towards zero."""
    time = data.law_s(law, bytes_per_s)
    left = np.log(data.measured_s / time)
    size = np.log2(data.message_bytes)
    ranks = tuple(int(one) for one in np.unique(data.ranks))
    grid = np.arange(np.floor(size.min()), np.ceil(size.max()) + 1.0)
    rows = []
    for one in ranks:
        apart = RANKS_PER_SIZE * (np.log2(data.ranks) - np.log2(one))
        distance = (grid[:, None] - size[None, :]) ** 2 + apart[None, :] ** 2
        weight = np.exp(-0.5 * distance / SMOOTH_LOG2_BYTES**2)
        rows.append(tuple((weight @ left / (weight.sum(axis=1) + SMOOTH_PRIOR)).tolist()))
    return Residual(first_log2_bytes=float(grid[0]), ranks=ranks, log_ratio=tuple(rows))
