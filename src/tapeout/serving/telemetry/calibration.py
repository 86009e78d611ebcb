"""What a request log says of a deployment: four constants, how well they are known, and a file."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tapeout.constants import MEGA
from tapeout.errors import Problem, ProblemsError
from tapeout.files import write_whole
from tapeout.numerics import Ints
from tapeout.perf.calibrate.chip_file import to_toml
from tapeout.serving.engine.job import Front
from tapeout.serving.engine.types import PS_PER_S, StepTable

MOST_BYTES = int(MEGA)
NAMES: tuple[str, ...] = ("operator_factor", "step_s", "request_s", "token_s")
HEADER = """\
# Written by `tapeout fit`: constants of one deployment from its own request log.
# Use it with `tapeout simulate --calibration THIS` for the same chip, model, placement and engine.
"""
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """What is fitted.

    Attributes
    ----------
    operator_factor : float
        On every time of the step table; above 1: slower than the timing model.
    step_s : float
        Added to every step of a rank. [s]
    request_s, token_s : float
        Time before the scheduler sees a request: its own, and for each prompt token (see `Front`).
        [s]
    """

    operator_factor: float = 1.0
    step_s: float = 0.0
    request_s: float = 0.0
    token_s: float = 0.0


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ConstantTable(_Table):
    """`[constants.NAME]`: a constant, its 90 % interval and whether the log determines it."""

    value: NotNegative
    low: NotNegative
    high: NotNegative
    identified: bool = True


class ConstantsTable(_Table):
    """`[constants]`."""

    operator_factor: ConstantTable
    step_s: ConstantTable
    request_s: ConstantTable
    token_s: ConstantTable


class ErrorTable(_Table):
    """`[[errors]]`: one figure of the held-back part, and how far it was missed."""

    metric: Literal["ttft", "tpot", "e2e"]
    statistic: Literal["mean", "p50", "p90"]
    measured_s: NotNegative
    before: Annotated[float, Field(allow_inf_nan=False)]  # simulated over measured, less 1
    after: Annotated[float, Field(allow_inf_nan=False)]


class SourceTable(_Table):
    """`[source]`: what was fitted to, and how."""

    log: str
    sha256: str = ""
    requests: Annotated[int, Field(ge=1)]
    fitted: Annotated[int, Field(ge=1)]
    held: Annotated[int, Field(ge=0)]
    failed: Annotated[int, Field(ge=0)] = 0
    bad: Annotated[int, Field(ge=0)] = 0
    deployment: str = ""
    timing_model: str = ""
    simulator: str = ""


class Calibration(_Table):
    """The whole file."""

    format: Literal[1] = 1
    warnings: list[str] = []
    source: SourceTable
    constants: ConstantsTable
    errors: list[ErrorTable] = []

    def values(self) -> Constants:
        """Return the constants alone."""
        return Constants(**{name: getattr(self.constants, name).value for name in NAMES})


def apply_calibration(
    table: StepTable, front: Front, calibration: Calibration | Constants
) -> tuple[StepTable, Front]:
    """Step table and front of the deployment as calibrated.

    The request and token times of the calibration take the place of the front's. Energy is left as
    it is: a log says nothing of it.
    """
    constants = calibration if isinstance(calibration, Constants) else calibration.values()
    factor = constants.operator_factor
    extra = np.full(table.tokens_ps.shape, constants.step_s * PS_PER_S)
    extra[0] = 0.0  # a rank without tokens does not step
    return (
        replace(
            table,
            tokens_ps=_whole_ps(factor * table.tokens_ps + extra),
            sampled_ps=_whole_ps(factor * table.sampled_ps),
            decode_ps=_whole_ps(factor * table.decode_ps),
            slope_ps=_whole_ps(factor * table.slope_ps),
            mixed_ps=factor * table.mixed_ps,
            shared_ps=_whole_ps(factor * table.shared_ps),
        ),
        replace(front, request_s=constants.request_s, token_s=constants.token_s),
    )


def _whole_ps(values: NDArray[np.floating[Any]]) -> Ints:
    rounded: Ints = np.rint(values).astype(np.int64)
    return rounded


def load_calibration(path: Path) -> Calibration:
    """Read and check a calibration file.

    Raises
    ------
    ProblemsError
        Everything that is wrong with it.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise _unusable(path, "is larger than a calibration file can be")
        raw = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise _unusable(path, f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise _unusable(path, f"is not UTF-8 (byte {error.start})") from error
    except tomllib.TOMLDecodeError as error:
        raise _unusable(path, f"is not TOML: {error}") from error
    try:
        return Calibration.model_validate(raw)
    except ValidationError as error:
        problems = [_problem(one) for one in error.errors()]
        raise ProblemsError(f"calibration {path.name}", problems) from error


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration file, all or nothing.

    Raises
    ------
    OSError
        The folder cannot be made or written.
    """
    write_whole(path, HEADER + "\n" + to_toml(calibration.model_dump()))


def _unusable(path: Path, message: str) -> ProblemsError:
    remedy = "give a file that `tapeout fit` wrote"
    problem = Problem(path=path.name, value="", message=message, remedy=remedy)
    return ProblemsError(f"calibration {path.name}", [problem])


def _problem(error: Any) -> Problem:
    """A pydantic error with a dotted path."""
    path = ".".join(str(part) for part in error["loc"])
    shown = "" if error["type"] == "missing" else repr(error["input"])[:60]
    return Problem(path=path or "file", value=shown, message=str(error["msg"]).lower())
