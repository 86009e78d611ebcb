"""`validate serving`: a prediction for every row of a table, and its score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tapeout.constants import MILLI
from tapeout.errors import InfeasibleError, TapeoutError
from tapeout.perf import PhysicalModel, TimingModel
from tapeout.serving.cases import RANGE_SHARE
from tapeout.serving.closed_loop import LoopEngine
from tapeout.serving.sanity import Finding, check_prediction
from tapeout.serving.validation.anchors import NO_ANCHORS, Anchors, fit_anchors
from tapeout.serving.validation.chips import FindChip, find_chip
from tapeout.serving.validation.files import STATUS, Table, joined, number_text, read_table
from tapeout.serving.validation.inputs import WIDE_RANGE, ServingCase, read_case
from tapeout.serving.validation.predicting import (
    QUANTITIES,
    ServingPrediction,
    band,
    bounded,
    predict_serving,
    stretched,
)
from tapeout.serving.validation.scoring import ALL, GroupScore, Scored, measured_number, score

NEEDED = ("chip", "model")
LLM = "model"
TIMING_MODEL = "timing_model"  # "model" is the language model of the row and is echoed
PREDICTED = tuple(f"predicted_{name}" for name in QUANTITIES)
COLUMNS = (
    *(f"{name}{suffix}" for name in PREDICTED for suffix in ("", "_low", "_high")),
    TIMING_MODEL,
    "status",
    "assumptions",
    "reason",
)
LOOP_QUANTITIES = ("output_tok_s_per_chip", "ttft_ms", "tpot_ms")
LOOP_COLUMNS = tuple(f"{engine}_{name}" for engine in LoopEngine for name in LOOP_QUANTITIES)
CURVE = ("chip", "engine", "model", "weight_precision", "parallelism")
LENGTHS = ("input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A row with its case and prediction, or the reason why there is none."""

    row: Mapping[str, str]
    case: ServingCase | None = None
    prediction: ServingPrediction | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What `validate` gives back.

    Attributes
    ----------
    columns, rows
        The table with its predictions, in the order of the input.
    scores : list of GroupScore
        Empty where nothing was measured.
    status : mapping of status word to number of rows
    violations : list of (row number from 1, Finding)
        Laws that our own predictions break; none is the rule.
    engine_scores : list of GroupScore
        Where closed loops were simulated: their errors by engine, the same rows for each.
    """

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    scores: list[GroupScore]
    status: Mapping[str, int]
    violations: list[tuple[int, Finding]]
    engine_scores: list[GroupScore] = field(default_factory=list)


def validate_serving(
    path: Path,
    *,
    anchors: Path | None = None,
    by: Sequence[str] = ("serving_mode", "chip"),
    model: TimingModel | None = None,
    find: FindChip = find_chip,
    engine: LoopEngine = LoopEngine.BURST,
) -> Validation:
    """Predict every row of a table and score those that were measured.

    Parameters
    ----------
    path, anchors : Path
    by : sequence of str
        Columns to group errors by.
    model : TimingModel, optional
    find : callable
        Finds chips by name.
    engine : LoopEngine
        Of closed loops. SIMULATE adds `LOOP_COLUMNS`: what all three engines say of each.

    Raises
    ------
    InfeasibleError
        A file cannot be read, or a grouping column is not there.
    """
    timing = model or PhysicalModel()
    table = read_table(path, NEEDED)
    unknown = [name for name in by if name not in table.columns and name not in DEFAULT_BY]
    if unknown:
        raise InfeasibleError(f"no column {unknown[0]!r} to group by in {path}")
    known = NO_ANCHORS
    if anchors:
        known = anchors_of(read_table(anchors, NEEDED), timing, find, engine)
    return answer_table(table, by=by, timing=timing, anchors=known, find=find, engine=engine)


DEFAULT_BY = ("serving_mode", "chip")


def answer_table(
    table: Table,
    *,
    by: Sequence[str],
    timing: TimingModel,
    anchors: Anchors,
    find: FindChip = find_chip,
    engine: LoopEngine = LoopEngine.BURST,
) -> Validation:
    """As `validate_serving`, of tables already read."""
    written = (*COLUMNS, *LOOP_COLUMNS) if engine is LoopEngine.SIMULATE else COLUMNS
    kept = [name for name in table.columns if name not in written]
    answers = [_corrected(_answer(row, timing, find, engine), anchors) for row in table.rows]
    rows = [_cells(one, kept, timing.name) for one in answers]
    status: dict[str, int] = dict.fromkeys(STATUS, 0)
    for row in rows:
        status[row["status"]] += 1
    found = [
        (number, finding)
        for number, one in enumerate(answers, start=1)
        if one.prediction is not None
        for finding in check_prediction(one.prediction, one.case)
        if finding.fires
    ]
    return Validation(
        columns=(*kept, *written),
        rows=tuple(rows),
        scores=score(scored for one in answers for scored in _scored(one, by)),
        status=status,
        violations=found,
        engine_scores=score_engines(answers),
    )


def _answer(
    row: Mapping[str, str],
    timing: TimingModel,
    find: FindChip,
    engine: LoopEngine = LoopEngine.BURST,
) -> Answer:
    try:
        case = read_case(row, find)
        return Answer(row=row, case=case, prediction=predict_serving(case, timing, None, engine))
    except (TapeoutError, ArithmeticError, ValueError) as error:
        return Answer(row=row, reason=" ".join(str(error).split()) or type(error).__name__)


def curve_of(row: Mapping[str, str]) -> str:
    """Key of the curve of any row, by which `serving.split` parts the table.

    That of `serving.cases.Case.curve` where the row is one; blank lengths count as 0.
    """
    share = RANGE_SHARE if WIDE_RANGE in (row.get("scenario") or "") else 1.0
    tokens = "/".join(f"{share * (measured_number(row, name) or 0.0):.0f}" for name in LENGTHS)
    parts = (row.get(name) or "" for name in CURVE)
    return "|".join((*parts, tokens))


def _keys(row: Mapping[str, str]) -> tuple[str, str, str]:
    """Keys of the corrections: engine on chip, model on it, the curve."""
    cell = {name: (row.get(name) or "").strip().lower() for name in (*CURVE, *LENGTHS)}
    pair = f"{cell['chip']}|{cell['engine']}"
    curve = "|".join(cell.values())
    return pair, f"{pair}|{cell['model']}", f"curve {curve}"


def anchors_of(
    table: Table,
    timing: TimingModel,
    find: FindChip = find_chip,
    engine: LoopEngine = LoopEngine.BURST,
) -> Anchors:
    """One log factor on time for each key, from TPOT and output rate of measured rows."""
    rows = []
    for row in table.rows:
        one = _answer(row, timing, find, engine)
        if one.prediction is None:
            continue
        ratios = time_ratios(row, one.prediction)
        if ratios:
            rows.append((_keys(row), sum(ratios) / len(ratios)))
    return fit_anchors(rows)


def time_ratios(row: Mapping[str, str], prediction: ServingPrediction) -> list[float]:
    """log(measured / predicted time), once from TPOT and once from the output rate."""
    found = []
    tpot = measured_number(row, "tpot_ms")
    rate = measured_number(row, "output_tok_s_per_chip")
    if tpot:
        found.append(math.log(tpot * MILLI / prediction.tpot_s))
    if rate:
        found.append(math.log(values_of(prediction)["output_tok_s_per_chip"] / rate))
    return found


def _corrected(answer: Answer, anchors: Anchors) -> Answer:
    """Stretch all times of a prediction by the factor of its anchors."""
    keys = _keys(answer.row)
    factor = math.exp(anchors.log_factor(keys))
    if answer.prediction is None or answer.case is None or anchors is NO_ANCHORS:
        return answer
    old = answer.prediction
    share = anchors.band_share(keys)
    return replace(
        answer,
        prediction=replace(
            bounded(stretched(old, factor), answer.case),
            log_sd={name: value * share for name, value in old.log_sd.items()},
            notes=(f"anchors: times x {factor:.3f}", *old.notes) if share < 1.0 else old.notes,
        ),
    )


def values_of(prediction: ServingPrediction) -> dict[str, float]:
    """The five quantities in the units of the table, per card where it counts cards."""
    each = prediction.chips_per_card
    return {
        "output_tok_s_per_chip": each * prediction.output_tokens_per_s_per_chip,
        "total_tok_s_per_chip": each * prediction.total_tokens_per_s_per_chip,
        "ttft_ms": prediction.ttft_s / MILLI,
        "tpot_ms": prediction.tpot_s / MILLI,
        "power_w_per_chip": each * prediction.power_w_per_chip,
    }


def loop_values(prediction: ServingPrediction) -> dict[str, dict[str, float]]:
    """`LOOP_QUANTITIES` by engine, as `values_of`; empty where no loop was simulated."""
    return {
        engine: {
            "output_tok_s_per_chip": prediction.chips_per_card * one.output_tokens_per_s_per_chip,
            "ttft_ms": one.ttft_s / MILLI,
            "tpot_ms": one.tpot_s / MILLI,
        }
        for engine, one in prediction.by_engine.items()
    }


def score_engines(answers: Sequence[Answer]) -> list[GroupScore]:
    """Errors of simulated closed loops by engine; they have no bands."""
    found = [
        Scored(
            group=engine,
            quantity=name,
            curve=_keys(one.row)[2],
            measured=measured,
            predicted=values[name],
            low=math.nan,
            high=math.nan,
        )
        for one in answers
        if one.prediction is not None
        for engine, values in loop_values(one.prediction).items()
        for name in LOOP_QUANTITIES
        if (measured := measured_number(one.row, name)) is not None
    ]
    return [replace(one, coverage=math.nan) for one in score(found) if one.group != ALL]


def _cells(answer: Answer, kept: Sequence[str], timing: str) -> dict[str, str]:
    cells = {name: answer.row[name] for name in kept}
    found = answer.prediction
    if found is None:
        return cells | {TIMING_MODEL: timing, "status": "unanswered", "reason": answer.reason}
    for name, value in values_of(found).items():
        low, high = band(value, found.log_sd[name])
        cells[f"predicted_{name}"] = number_text(value)
        cells[f"predicted_{name}_low"] = number_text(low)
        cells[f"predicted_{name}_high"] = number_text(high)
    for engine, values in loop_values(found).items():
        cells |= {f"{engine}_{name}": number_text(value) for name, value in values.items()}
    return cells | {
        TIMING_MODEL: found.model,
        "status": "assumed" if found.assumed else "ok",
        "assumptions": joined((*found.assumed, *found.notes)),
        "reason": "",
    }


def _scored(answer: Answer, by: Sequence[str]) -> list[Scored]:
    """Measured quantities of a row beside their predictions."""
    group = " | ".join((answer.row.get(name) or "").strip() or "-" for name in by)
    values = values_of(answer.prediction) if answer.prediction else {}
    found = []
    for name in QUANTITIES:
        measured = measured_number(answer.row, name)
        if measured is None:
            continue
        value = values.get(name, math.nan)
        low, high = (math.nan, math.nan)
        if answer.prediction is not None:
            low, high = band(value, answer.prediction.log_sd[name])
        found.append(
            Scored(
                group=group,
                quantity=name,
                curve=_keys(answer.row)[2],
                measured=measured,
                predicted=value,
                low=low,
                high=high,
            )
        )
    return found
