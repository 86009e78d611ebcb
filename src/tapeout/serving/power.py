"""Measured power rows and what the energy model says about them.

Power is joules per token times tokens per second, so a wrong rate gives a wrong power. Rows are
therefore predicted twice: with the measured rate, which tests the energy constants alone, and
with the predicted one, which is what a user gets. Accelerator telemetry and wall power are never
mixed: `PowerRow.scope` says which of the two a row is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tapeout.catalog import load
from tapeout.chip import spec_from_record
from tapeout.errors import InfeasibleError
from tapeout.fabric import usual_system
from tapeout.numerics import Floats
from tapeout.perf import (
    Placement,
    TimingModel,
    max_sequences,
    placements,
    prepare,
    serving_formats,
)
from tapeout.perf.energy import StepEnergy, work_energy
from tapeout.perf.physical import sent_bytes
from tapeout.perf.power import PowerScope
from tapeout.serving.cases import Case, case_of, case_placement, closed_loop
from tapeout.serving.split import is_fit_curve
from tapeout.serving.steady import TOKEN_BUDGET, Lengths, mixture
from tapeout.workload import load_model

APART = ("DeepSeek-V4-Pro",)  # its own table: one model on one chip gives most of the rows
WALL_LENGTHS = {
    # MLPerf summaries state no input: mean tokens of the data set, in and out (MLCommons, recalled)
    "Llama-2-70B": (294.0, 294.0),  # OpenOrca
    "Llama-3.1-8B": (778.0, 128.0),  # CNN-DailyMail; the checker asks for 611 characters a sample
    "Mixtral-8x7B": (300.0, 145.0),  # OpenOrca, GSM8K and MBXP; the input is an assumption
}
WALL_SEQUENCES = 1024.0  # of one replica at most, the default limit of engines; assumption
_WIDE = "16-bit"  # how rows say that weights are bf16 or fp16


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerRow:
    """One measured power of a placement that can be predicted.

    Attributes
    ----------
    curve : str
        Key of the curve, as `Case.curve`, with the precision as the table states it.
    scope : PowerScope
        SUSTAINED for accelerator telemetry, ALL_IN for wall power shared by the accelerators.
    static_batch : bool
        One batch from start to end instead of a closed loop.
    measured_w, measured_rate : float
        Per chip; output tokens per second. [W, 1/s]
    """

    case: Case
    curve: str
    scope: PowerScope
    static_batch: bool
    placement: Placement
    lengths: Lengths
    measured_w: float
    measured_rate: float

    @property
    def is_fit(self) -> bool:
        """True if constants may be fitted to the row."""
        return is_fit_curve(self.curve)

    @property
    def apart(self) -> bool:
        """True for a model that is reported on its own."""
        return self.case.model in APART


def power_curve(row: Mapping[str, str]) -> str:
    """Key of the curve of a row, blank where the table is blank; as `Case.curve` where it is not.

    Examples
    --------
    >>> power_curve({"chip": "c", "engine": "e", "model": "m", "weight_precision": "fp8",
    ...              "parallelism": "tp8", "input_tokens": "", "output_tokens": "273.3",
    ...              "scenario": ""})
    'c|e|m|fp8|tp8|/273'
    """
    share = 0.9 if "range ratio 0.8" in row["scenario"] else 1.0
    lengths = "/".join(
        f"{share * float(row[name]):.0f}" if row[name] else ""
        for name in ("input_tokens", "output_tokens")
    )
    names = ("chip", "engine", "model", "weight_precision", "parallelism")
    return "|".join((*(row[name] for name in names), lengths))


def telemetry_rows(rows: Iterable[Mapping[str, str]]) -> list[PowerRow]:
    """Rows with accelerator telemetry, one pool of chips and a number of requests in flight."""
    return [
        _power_row(row)
        for row in rows
        if row["power_w_per_chip"]
        and "telemetry" in row["power_scope"]
        and row["serving_mode"] != "disaggregated"
        and row["concurrency_or_qps"].isdigit()
    ]


def _power_row(row: Mapping[str, str]) -> PowerRow:
    wide = {"weight_precision": "bf16"} if _WIDE in row["weight_precision"] else {}
    case = case_of(dict(row) | wide)
    chip = spec_from_record(load().chip(case.chip))
    architecture = load_model(case.model)
    formats = serving_formats(chip, architecture, case.precision, stack=case.engine)
    return PowerRow(
        case=case,
        curve=power_curve(row),
        scope=PowerScope.SUSTAINED,
        static_batch="static" in row["serving_mode"],
        placement=case_placement(case, architecture, usual_system(chip), formats),
        lengths=Lengths(new=case.input_tokens, cached=0.0, output=case.output_tokens),
        measured_w=float(row["power_w_per_chip"]),
        measured_rate=case.measured_output_tokens_per_s_per_chip,
    )


def wall_rows(rows: Iterable[Mapping[str, str]]) -> list[PowerRow]:
    """Rows with wall power shared by the accelerators (MLPerf), loaded to the full.

    They state neither parallelism nor input: the fewest chips that hold the model, and the
    lengths of `WALL_LENGTHS`.
    """
    return [
        _wall_row(row)
        for row in rows
        if row["power_w_per_chip"] and "wall" in row["power_scope"] and row["model"] in WALL_LENGTHS
    ]


def _wall_row(row: Mapping[str, str]) -> PowerRow:
    new, output = WALL_LENGTHS[row["model"]]
    output = float(row["output_tokens"] or output)
    system = usual_system(spec_from_record(load().chip(row["chip"])))
    architecture = load_model(row["model"])
    formats = serving_formats(system.chip, architecture, row["weight_precision"] or None)
    placement = placements(architecture, system, formats)[0]
    lengths = Lengths(new=new, cached=0.0, output=output)
    filled = {
        "parallelism": f"tp{placement.tensor_parallel}",
        "input_tokens": str(new),
        "output_tokens": str(output),
        "concurrency_or_qps": str(
            min(WALL_SEQUENCES, float(max_sequences(placement, lengths.context)))
        ),
    }
    case = case_of(dict(row) | filled)
    return PowerRow(
        case=case,
        curve=power_curve(row),
        scope=PowerScope.ALL_IN,
        static_batch=True,
        placement=placement,
        lengths=lengths,
        measured_w=float(row["power_w_per_chip"]),
        measured_rate=case.measured_output_tokens_per_s_per_chip,
    )


def require_fit_rows(rows: Iterable[PowerRow]) -> None:
    """Refuse to fit to a reported curve.

    Raises
    ------
    InfeasibleError
        Naming the first row of the report part.
    """
    for row in rows:
        if not row.is_fit:
            raise InfeasibleError(
                f"row {row.case.row} lies on the reported curve {row.curve!r}; fit to others only"
            )


def decoding(row: PowerRow) -> float:
    """Sequences that decode at a time, over the replica, from what was measured.

    A static batch decodes as a whole, as far as memory holds it. In a closed loop a request
    decodes during output x TPOT of its time (Little's law).
    """
    case = row.case
    most = float(max(1, max_sequences(row.placement, row.lengths.context)))
    count = min(case.concurrency, most)
    if row.static_batch or not case.measured_tpot_s > 0.0:
        return count
    busy = row.measured_rate * row.placement.chips * case.measured_tpot_s
    return float(np.clip(busy, min(1.0, count), count))


def token_energy(row: PowerRow, sequences: float) -> StepEnergy:
    """Nominal energy of one output token and its share of prefill, one value a part, time apart.

    The static parts are per second of the chip, the others joules per output token: power is
    static + rate x the rest.
    """
    budget = float(TOKEN_BUDGET) * row.placement.data_parallel
    mix = mixture(row.lengths, np.array([sequences]), budget)
    ready = prepare(row.placement, mix.steps)
    steps = mix.steps.tokens.size
    sent = sent_bytes(ready.messages, steps)
    chip = row.placement.system.chip
    step = work_energy(chip, ready.shard, ready.table.dtype, sent, np.ones(steps))
    carrying = float(mix.carrying[0])
    weight = np.array([1.0 - carrying, carrying])
    per_token = row.placement.chips / sequences

    def mean(part: Floats) -> Floats:
        return np.array([float(weight @ part) * per_token])

    return StepEnergy(
        idle_j=step.idle_j[:1],
        awake_j=step.awake_j[:1],
        arithmetic_j=mean(step.arithmetic_j),
        sram_j=mean(step.sram_j),
        memory_j=mean(step.memory_j),
        fabric_j=mean(step.fabric_j),
    )


def power_at_measured_rate_w(row: PowerRow) -> float:
    """Power at the measured rate, the energy constants alone; with hosts for a wall row. [W]."""
    return _package_w(row) + _host_w(row)


def _host_w(row: PowerRow) -> float:
    return row.placement.system.host_w if row.scope is PowerScope.ALL_IN else 0.0


def _package_w(row: PowerRow) -> float:
    part = token_energy(row, decoding(row))
    moved = float((part.core_j + part.memory_j + part.fabric_j)[0])
    draw = float(part.static_j[0]) + row.measured_rate * moved
    rated = row.placement.system.chip.tdp_w
    return min(draw, rated) if rated > 0.0 else draw


def predicted_power_w(row: PowerRow, model: TimingModel) -> float:
    """Power with predicted times, what a user gets; with hosts for a wall row. [W]."""
    got = closed_loop(model, row.placement, row.lengths, np.array([row.case.concurrency]))
    draw = got.state.joule_per_output_token[0] * got.output_tokens_per_s_per_chip[0]
    return float(draw) + _host_w(row)
