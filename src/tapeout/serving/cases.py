"""Measured or measurable serving cases: one row, its placement, and the closed-loop prediction.

The columns are those of the end-to-end table described in docs/data.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tapeout.constants import MILLI
from tapeout.errors import InfeasibleError
from tapeout.fabric import System
from tapeout.numerics import Floats
from tapeout.perf import Degrees, Placement, TimingModel, max_sequences
from tapeout.serving.steady import Lengths, SteadyState, steady_state
from tapeout.workload import ModelArchitecture, TensorFormats

RANGE_SHARE = 0.9  # lengths drawn uniformly from 0.8-1.0 of the nominal ones
RANGE_SPREAD = 1.0 / 9.0  # half their range over their mean
ENGINE_BUDGET = 8192
_DEGREE = re.compile(r"(tp|pp|ep|dp)(\d{1,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One operating point in a closed loop.

    `curve` groups points that differ in load only: chip, engine, model, precision, parallelism,
    lengths. Measured values are nan where absent. Lengths are uniform in mean x (1 -+ spread).
    """

    row: str
    chip: str
    model: str
    engine: str
    precision: str
    parallelism: str
    chips: int
    input_tokens: float
    output_tokens: float
    concurrency: float
    measured_tpot_s: float
    measured_ttft_s: float
    measured_output_tokens_per_s_per_chip: float
    length_spread: float = 0.0

    @property
    def curve(self) -> str:
        """Key of the curve the point lies on."""
        lengths = f"{self.input_tokens:.0f}/{self.output_tokens:.0f}"
        parts = (self.chip, self.engine, self.model, self.precision, self.parallelism, lengths)
        return "|".join(parts)


def parse_parallelism(text: str) -> Degrees:
    """Read `tpN[-ppN][-epN][-dpN][-dpattn]`; ep shares the tp ranks, dpattn turns tp into data.

    Raises
    ------
    InfeasibleError
        The text does not follow the grammar.

    Examples
    --------
    >>> parse_parallelism("tp8-ep8-dpattn")
    Degrees(tensor=1, pipeline=1, expert=8, data=8)
    """
    degrees = {"tp": 1, "pp": 1, "ep": 1, "dp": 1}
    split_attention = False
    for part in text.split("-"):
        match = _DEGREE.fullmatch(part)
        if match:
            degrees[match.group(1)] = int(match.group(2))
        elif part == "dpattn":
            split_attention = True
        else:
            raise InfeasibleError(
                f"parallelism {text!r}: {part!r} is none of tpN, ppN, epN, dpN, dpattn"
            )
    tensor, data = degrees["tp"], degrees["dp"]
    if split_attention:
        tensor, data = 1, data * tensor
    return Degrees(tensor=tensor, pipeline=degrees["pp"], expert=degrees["ep"], data=data)


def scored_cases(rows: Iterable[Mapping[str, str]]) -> list[Case]:
    """Rows fit for scoring: quality A or B, aggregated, no speculation, TPOT present.

    Parameters
    ----------
    rows : iterable of mappings
        Rows of the end-to-end table as text.
    """
    found = []
    for row in rows:
        scored = (
            row["quality"] in ("A", "B")
            and row["serving_mode"] == "aggregated"
            and row["spec_decoding"] == "none"
            and row["tpot_ms"]
            and row["concurrency_or_qps"].isdigit()
        )
        if scored:
            found.append(case_of(row))
    return found


def case_of(row: Mapping[str, str]) -> Case:
    """Read one row of the end-to-end table."""
    ranged = "range ratio 0.8" in row["scenario"]
    share = RANGE_SHARE if ranged else 1.0
    return Case(
        row=row["row_id"],
        chip=row["chip"],
        model=row["model"],
        engine=row["engine"],
        precision=row["weight_precision"],
        parallelism=row["parallelism"],
        chips=int(row["n_chips"]),
        input_tokens=share * float(row["input_tokens"]),
        output_tokens=share * float(row["output_tokens"]),
        concurrency=float(row["concurrency_or_qps"]),
        measured_tpot_s=_number(row["tpot_ms"]) * MILLI,
        measured_ttft_s=_number(row["ttft_ms"]) * MILLI,
        measured_output_tokens_per_s_per_chip=_number(row["output_tok_s_per_chip"]),
        length_spread=RANGE_SPREAD if ranged else 0.0,
    )


def _number(text: str) -> float:
    return float(text) if text else float("nan")


def case_placement(
    case: Case, architecture: ModelArchitecture, system: System, formats: TensorFormats
) -> Placement:
    """Placement of a case.

    Raises
    ------
    InfeasibleError
        The parallelism cannot be read.
    """
    degrees = parse_parallelism(case.parallelism)
    return Placement(
        architecture=architecture,
        system=system,
        tensor_parallel=degrees.tensor,
        pipeline_parallel=degrees.pipeline,
        expert_parallel=degrees.expert,
        data_parallel=degrees.data,
        formats=formats,
        stack=case.engine,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Closed-loop means of the points of one curve; arrays have shape (point,)."""

    tpot_s: Floats
    ttft_s: Floats
    output_tokens_per_s_per_chip: Floats
    decoding: Floats
    state: SteadyState


def closed_loop(
    model: TimingModel,
    placement: Placement,
    lengths: Lengths,
    concurrency: Floats,
    rounds: int = 3,
) -> Prediction:
    """Predict a closed loop with a fixed number of requests in flight.

    Of N requests those in prefill do not decode: n = N O tpot / (O tpot + ttft), and no more
    decode than memory holds; the others wait. Throughput follows from Little's law.
    """
    total = np.asarray(concurrency, dtype=float)
    most = float(max(1, max_sequences(placement, lengths.context)))
    decoding = np.minimum(total, most)
    state = steady_state(model, placement, lengths, decoding, ENGINE_BUDGET)
    for _ in range(rounds - 1):
        decode_s = lengths.output * state.tpot_s
        busy = total * decode_s / (decode_s + state.prefill_s + state.tpot_s / 2.0)
        decoding = np.clip(busy, np.minimum(total, 1.0), most)
        state = steady_state(model, placement, lengths, decoding, ENGINE_BUDGET)
    rate = state.output_tokens_per_s
    # Little: time in the system is N over the request rate; what is not decoding is waiting.
    ttft = np.maximum(total * lengths.output / rate - lengths.output * state.tpot_s, 0.0)
    return Prediction(
        tpot_s=state.tpot_s,
        ttft_s=np.maximum(ttft, state.prefill_s),
        output_tokens_per_s_per_chip=rate / placement.chips,
        decoding=decoding,
        state=state,
    )
