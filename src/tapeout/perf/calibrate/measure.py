"""Time a list of cases within a budget, keeping what is measured whatever happens."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tapeout.errors import InfeasibleError, Problem, ProblemsError
from tapeout.files import write_whole
from tapeout.perf.calibrate.fit import Measured
from tapeout.perf.calibrate.timing import LEAST, WARM_UP
from tapeout.perf.calibrate.types import Backend
from tapeout.perf.calibrate.work import load_of
from tapeout.perf.ops.cases import COLUMNS, OpCase, parse

EXTRA = ("spread_fraction", "samples", "date", "host", "driver")
CASE_S = 0.15  # wall time spent on one case, its warm-up apart
LARGEST_SHARE = 0.15  # of the budget that one case may be expected to take
SAVE_EVERY_S = 2.0
INTERRUPTED = "interrupted"

Tell = Callable[[OpCase, float], None]


@dataclass(slots=True)
class Run:
    """What a run has found so far.

    Attributes
    ----------
    measured : list of Measured
    skipped : list of pairs of OpCase and str
        With the reason.
    stopped : str
        Why it ended before the last case; empty when it did not.
    """

    measured: list[Measured] = field(default_factory=list)
    skipped: list[tuple[OpCase, str]] = field(default_factory=list)
    stopped: str = ""


def measure(
    backend: Backend,
    cases: Sequence[OpCase],
    *,
    seconds: float,
    tell: Tell | None = None,
    save: Callable[[Run], None] | None = None,
) -> Run:
    """Time the cases in order until they or the seconds are used up.

    A case whose expected time (from the best rates so far of its class) is more than a share of
    the budget is skipped and listed. An interrupt ends the run; what was measured is returned.

    Parameters
    ----------
    backend : Backend
    cases : sequence of OpCase
    seconds : float
        Wall time. [s]
    tell : callable, optional
        Called before each case with it and the share of the budget that is gone.
    save : callable, optional
        Called every two seconds and at the end; must be atomic.
    """
    run, begin = Run(), time.perf_counter()
    saved, rates = begin, _Rates()
    try:
        for place, case in enumerate(cases):
            gone = (time.perf_counter() - begin) / seconds
            if gone >= 1.0:
                run.stopped = f"{seconds:g} s are over; {len(cases) - place} cases were not reached"
                break
            if tell is not None:
                tell(case, max(gone, place / len(cases)))
            _one(run, backend, case, rates, seconds)
            if save is not None and time.perf_counter() - saved > SAVE_EVERY_S:
                save(run)
                saved = time.perf_counter()
    except KeyboardInterrupt:
        run.stopped = INTERRUPTED
    if save is not None:
        save(run)
    return run


def _one(run: Run, backend: Backend, case: OpCase, rates: _Rates, seconds: float) -> None:
    expected = rates.expected_s(case) * (LEAST + WARM_UP)
    if expected > LARGEST_SHARE * seconds:
        run.skipped.append((case, f"would take about {expected:.1f} s"))
        return
    try:
        timing = backend.time(case, min(CASE_S, seconds / 200.0))
    except InfeasibleError as error:
        run.skipped.append((case, str(error)))
        return
    rates.learn(case, timing.median_s)
    timed = replace(case, measured_s=timing.median_s)
    run.measured.append(
        Measured(case=timed, spread_fraction=timing.spread_fraction, samples=timing.samples)
    )


@dataclass(slots=True)
class _Rates:
    """Best rates so far by operator and format, for guessing how long the next case takes."""

    flop_per_s: dict[tuple[str, str], float] = field(default_factory=dict)
    bytes_per_s: dict[tuple[str, str], float] = field(default_factory=dict)

    def expected_s(self, case: OpCase) -> float:
        """Roofline of the best rates; 0 before anything is known."""
        load, key = load_of(case), (case.op, case.dtype)
        if key not in self.bytes_per_s:
            return 0.0
        compute = load.flop / self.flop_per_s[key] if load.flop else 0.0
        return max(compute, load.moved_bytes / self.bytes_per_s[key])

    def learn(self, case: OpCase, time_s: float) -> None:
        """Take a timing into account."""
        load, key = load_of(case), (case.op, case.dtype)
        self.flop_per_s[key] = max(self.flop_per_s.get(key, 0.0), load.flop / time_s)
        self.bytes_per_s[key] = max(self.bytes_per_s.get(key, 0.0), load.moved_bytes / time_s)


def write_rows(path: Path, run: Run, extra: dict[str, str]) -> None:
    """Write the timings as an operator table, all or nothing.

    The columns are those of operator cases, then `EXTRA`, so that `tapeout validate ops` reads the
    file as it is.

    Raises
    ------
    OSError
        The folder cannot be made or written.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*COLUMNS, *EXTRA], lineterminator="\n")
    writer.writeheader()
    for one in run.measured:
        row = {name: _cell(getattr(one.case, name)) for name in COLUMNS}
        row |= extra | {
            "spread_fraction": f"{one.spread_fraction:.3g}",
            "samples": f"{one.samples}",
        }
        writer.writerow(row)
    write_whole(path, text.getvalue())


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.6g}"  # noqa: PLR0124  nan is a blank
    return str(value)


def read_rows(path: Path) -> list[Measured]:
    """Read timings back; every bad row is named.

    Raises
    ------
    ProblemsError
        Rows that cannot be read or have no measured time.
    OSError
        The file cannot be read.
    """
    found, problems = [], []
    with path.open(encoding="utf-8", newline="") as file:
        for line, case, spread, message in _parsed(csv.DictReader(file)):
            if message:
                problems.append(Problem(path=f"line {line}", value="", message=message))
            elif case is not None:
                found.append(Measured(case=case, spread_fraction=spread))
    if problems:
        raise ProblemsError(f"measurements {path}", problems)
    return found


def _parsed(
    rows: csv.DictReader[str],
) -> Iterator[tuple[int, OpCase | None, float, str]]:
    """Line, case, spread of its samples, and what is wrong with it."""
    for row in rows:
        line = rows.line_num
        try:
            case = parse(row)
            spread = float(row.get("spread_fraction") or 0.0)
        except (InfeasibleError, ValueError) as error:
            yield line, None, 0.0, str(error)
            continue
        good = case.measured_s > 0.0
        yield line, case if good else None, spread, "" if good else "measured_s is not positive"
