"""The chip file: what a calibration found, as TOML that people read and the tool uses.

From outside it is data: every problem is named with its dotted path, all at once.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tapeout.constants import MEGA
from tapeout.errors import Problem, ProblemsError
from tapeout.files import write_whole
from tapeout.perf.calibrate.law import RateConstants

FORMAT = 1
MOST_BYTES = int(MEGA)
HEADER = """\
# Written by `tapeout calibrate`. Rates are sustained: as measured, in SI units; `log_sd` is the
# standard error of a constant's logarithm, `median_error` and `p90_error` are those of the law on
# timings it was not fitted to. Use it with `tapeout perf --chip-file THIS MODEL`.
"""
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Day = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DeviceTable(_Table):
    """`[device]`: what was measured, when, and by which software."""

    name: Annotated[str, Field(min_length=1)]
    kind: Literal["cpu", "cuda", "rocm"]
    date: Day
    host: str
    driver: str
    stack: str
    kernel: str
    mode: Literal["graph", "eager"]
    clock_hz: NotNegative
    memory_bytes: Positive
    cache_bytes: NotNegative
    units: Annotated[int, Field(ge=0)]
    devices: Annotated[int, Field(ge=1)] = 1
    catalogue: str = ""  # name of the chip in the catalogue; empty when it is not there


class ConstantsTable(_Table):
    """`[rates.constants]`: those of the law; a constant that the operator lacks is absent."""

    launch_s: NotNegative
    bytes_per_s: Positive
    flop_per_s: Positive | None = None
    half_m: NotNegative = 0.0
    half_n: NotNegative = 0.0
    half_k: NotNegative = 0.0

    def law(self) -> RateConstants:
        """As the law takes them."""
        values = self.model_dump()
        values["flop_per_s"] = math.inf if self.flop_per_s is None else self.flop_per_s
        return RateConstants(**values)


class RatesTable(_Table):
    """`[[rates]]`: one operator in one format."""

    op: Annotated[str, Field(min_length=1)]
    dtype: Annotated[str, Field(min_length=1)]
    fit_rows: Annotated[int, Field(ge=1)]
    report_rows: Annotated[int, Field(ge=0)]
    median_error: NotNegative | None = None  # absent where no timing was left to score on
    p90_error: NotNegative | None = None
    best_flop_per_s: NotNegative
    best_bytes_per_s: NotNegative
    constants: ConstantsTable
    log_sd: dict[str, NotNegative]


class CollectiveTable(_Table):
    """`[[collectives]]`: time of S bytes over so many devices, launch + wire bytes / rate."""

    op: Annotated[str, Field(min_length=1)]
    n_chips: Annotated[int, Field(ge=2)]
    latency_s: NotNegative
    bus_bytes_per_s: Positive


class SetupTable(_Table):
    """`[[setups]]`: constants of an operator law of `perf.ops`, relative to the rated chip."""

    op: Annotated[str, Field(min_length=1)]
    dtype: Annotated[str, Field(min_length=1)]
    fit_rows: Annotated[int, Field(ge=1)]
    report_rows: Annotated[int, Field(ge=1)]
    median_error: NotNegative
    p90_error: NotNegative
    log_sd: NotNegative  # 80 % of the errors on the report rows lie within 1.28 of it
    constants: dict[str, NotNegative]
    constants_log_sd: dict[str, NotNegative]


class MeasurementsTable(_Table):
    """`[measurements]`: the timings behind the constants."""

    file: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    rows: Annotated[int, Field(ge=1)]
    skipped: Annotated[int, Field(ge=0)] = 0
    median_spread: NotNegative  # interquartile range of the samples over their median
    note: str = ""


class ChipFile(_Table):
    """The whole file."""

    format: Literal[1]
    device: DeviceTable
    measurements: MeasurementsTable
    rates: Annotated[list[RatesTable], Field(min_length=1)]
    collectives: list[CollectiveTable] = []
    setups: list[SetupTable] = []


def read_chip_file(path: Path) -> ChipFile:
    """Read and check a chip file.

    Raises
    ------
    ProblemsError
        Everything that is wrong with it.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _whole(path, "is larger than a chip file can be", "give the TOML, not the CSV")
        raw = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        message = f"cannot be read ({error.strerror})"
        raise _whole(path, message, "give the path of a file that `tapeout calibrate` wrote") from (
            error
        )
    except UnicodeDecodeError as error:
        raise _whole(path, f"not UTF-8 (byte {error.start})", "save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise _whole(path, f"not TOML: {error}", "see docs/calibrate.md") from error
    try:
        return ChipFile.model_validate(raw)
    except ValidationError as error:
        raise ProblemsError(f"chip file {path}", [_problem(one) for one in error.errors()]) from (
            error
        )


def _whole(path: Path, message: str, remedy: str) -> ProblemsError:
    problem = Problem(path=path.name, value="", message=message, remedy=remedy)
    return ProblemsError(f"chip file {path}", [problem])


def _problem(error: Any) -> Problem:
    """A pydantic error with a dotted path: rates[2].constants.launch_s."""
    path = ""
    for part in error["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    shown = "" if error["type"] == "missing" else repr(error["input"])[:60]
    return Problem(path=path or "file", value=shown, message=str(error["msg"]).lower())


def write_chip_file(path: Path, content: ChipFile) -> None:
    """Write a chip file, all or nothing.

    Raises
    ------
    OSError
        The folder cannot be made or written.
    """
    tables = {key: one for key, one in content.model_dump(exclude_none=True).items() if one != []}
    write_whole(path, HEADER + "\n" + to_toml(tables))


def to_toml(tables: dict[str, Any]) -> str:
    r"""Tables of plain values, tables and lists of tables as TOML; numbers to six digits.

    Examples
    --------
    >>> print(to_toml({"format": 1, "device": {"name": 'a "b"', "clock_hz": 2.5e9}}))
    format = 1
    <BLANKLINE>
    [device]
    name = "a \"b\""
    clock_hz = 2.5e+09
    <BLANKLINE>
    """
    return "\n".join(_lines(tables, ()))


def _lines(table: dict[str, Any], path: tuple[str, ...]) -> list[str]:
    plain = [f"{key} = {_value(one)}" for key, one in table.items() if not _nested(one)]
    lines = [*plain, ""] if plain else []
    for key, one in table.items():
        inner = (*path, key)
        if isinstance(one, dict):
            lines += [f"[{'.'.join(inner)}]", *_lines(one, inner)]
        elif _nested(one):
            for item in one:
                lines += [f"[[{'.'.join(inner)}]]", *_lines(item, inner)]
    return lines


def _nested(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        text = f"{value:.6g}"
        return text if any(mark in text for mark in ".en") else f"{text}.0"
    if isinstance(value, list):
        return f"[{', '.join(_value(one) for one in value)}]"
    return _quoted(str(value))


def _quoted(text: str) -> str:
    """Basic string of TOML: quotes, backslashes and what does not print escaped."""
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"
