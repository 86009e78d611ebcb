"""`validate ops`: a time for every operator row of a table, and its score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from tapeout.chip import ChipSpec
from tapeout.errors import InfeasibleError, TapeoutError
from tapeout.perf.ops.cases import Estimate, OpCase, parse
from tapeout.perf.ops.predict import Law, Unanswered, family, predict
from tapeout.perf.ops.split import group
from tapeout.serving.validation.anchors import NO_ANCHORS, Anchors, fit_anchors
from tapeout.serving.validation.chips import FindChip, find_chip
from tapeout.serving.validation.files import STATUS, Table, joined, number_text, read_table
from tapeout.serving.validation.predicting import band
from tapeout.serving.validation.scoring import GroupScore, Scored, measured_number, score

NEEDED = ("chip", "op")
COLUMNS = ("predicted_s", "low_s", "high_s", "model", "status", "assumptions", "reason")
DEFAULT_BY = ("chip", "op")
MEASURED = "measured_s"
HAVE_SOFTWARE = ("gemm", "attention", "elementwise")  # laws that do not list a blank stack


@dataclass(frozen=True, slots=True, kw_only=True)
class OpAnswer:
    """A row with its estimate, or the reason why there is none."""

    row: Mapping[str, str]
    case: OpCase | None = None
    estimate: Estimate | None = None
    chip: str = ""  # its name in the catalogue
    notes: tuple[str, ...] = ()  # blanks of chip and stack: listed, no assumption of the law
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpValidation:
    """What `validate ops` gives back; see `serving_rows.Validation`."""

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    scores: list[GroupScore]
    status: Mapping[str, int]


def validate_ops(
    path: Path,
    *,
    anchors: Path | None = None,
    by: Sequence[str] = DEFAULT_BY,
    laws: Mapping[str, Law] | None = None,
    find: FindChip = find_chip,
) -> OpValidation:
    """Time every row of a table and score those that were measured.

    Raises
    ------
    InfeasibleError
        A file cannot be read, or a grouping column is not there.
    """
    table = read_table(path, NEEDED)
    unknown = [name for name in by if name not in table.columns]
    if unknown:
        raise InfeasibleError(f"no column {unknown[0]!r} to group by in {path}")
    known = _anchors_of(read_table(anchors, NEEDED), laws, find) if anchors else NO_ANCHORS
    return answer_ops(table, by=by, anchors=known, laws=laws, find=find)


def answer_ops(
    table: Table,
    *,
    by: Sequence[str],
    anchors: Anchors = NO_ANCHORS,
    laws: Mapping[str, Law] | None = None,
    find: FindChip = find_chip,
) -> OpValidation:
    """As `validate_ops`, of tables already read."""
    kept = [name for name in table.columns if name not in COLUMNS]
    answers = [_corrected(_answer(row, laws, find), anchors) for row in table.rows]
    rows = [_cells(one, kept) for one in answers]
    status: dict[str, int] = dict.fromkeys(STATUS, 0)
    for row in rows:
        status[row["status"]] += 1
    scored = [one for answer in answers if (one := _scored(answer, by)) is not None]
    return OpValidation(
        columns=(*kept, *COLUMNS), rows=tuple(rows), scores=score(scored), status=status
    )


@lru_cache(maxsize=256)
def _chip(name: str, find: FindChip) -> ChipSpec:
    return find(name)


def _answer(row: Mapping[str, str], laws: Mapping[str, Law] | None, find: FindChip) -> OpAnswer:
    try:
        case = parse(row)
        chip = _chip(case.chip, find)
    except TapeoutError as error:
        return OpAnswer(row=row, reason=" ".join(str(error).split()))
    # The case names the chip as its row does; set-ups are kept by the name of the catalogue.
    # What was measured does not reach the law.
    asked = replace(case, chip=chip.name, measured_s=math.nan)
    found = predict(asked, chip, laws)
    if isinstance(found, Unanswered):
        return OpAnswer(row=row, case=case, reason=found.reason)
    notes = [f"chip: {line}" for line in chip.assumptions]
    borrowed = any("borrowed" in words for words in found.assumptions)
    if not case.stack and family(case.op) in HAVE_SOFTWARE and not borrowed:
        notes.insert(0, "stack is blank: the software measured on the chip, named in model")
    return OpAnswer(row=row, case=case, estimate=found, notes=tuple(notes), chip=chip.name)


def _keys(case: OpCase, name: str) -> tuple[str, str]:
    """Keys of the corrections: the family of operators on the chip, then with this stack."""
    chip = f"{name}|{family(case.op)}"
    return chip, f"{chip}|{case.op}|{case.stack}|{case.dtype}"


def _anchors_of(table: Table, laws: Mapping[str, Law] | None, find: FindChip) -> Anchors:
    rows = []
    for row in table.rows:
        one = _answer(row, laws, find)
        measured = measured_number(row, MEASURED)
        if one.case is not None and one.estimate is not None and measured:
            rows.append((_keys(one.case, one.chip), math.log(measured / one.estimate.time_s)))
    return fit_anchors(rows)


def _corrected(answer: OpAnswer, anchors: Anchors) -> OpAnswer:
    if anchors is NO_ANCHORS or answer.estimate is None or answer.case is None:
        return answer
    keys = _keys(answer.case, answer.chip)
    share = anchors.band_share(keys)
    if share == 1.0:
        return answer
    factor = math.exp(anchors.log_factor(keys))
    old = answer.estimate
    return replace(
        answer,
        estimate=replace(
            old,
            time_s=old.time_s * factor,
            log_sd=old.log_sd * share,
            model=f"{old.model} + anchors",
            assumptions=(f"anchors: time x {factor:.3f}", *old.assumptions),
        ),
    )


def _cells(answer: OpAnswer, kept: Sequence[str]) -> dict[str, str]:
    cells = {name: answer.row[name] for name in kept}
    found = answer.estimate
    if found is None:
        return cells | {"status": "unanswered", "reason": answer.reason}
    low, high = band(found.time_s, found.log_sd)
    return cells | {
        "predicted_s": number_text(found.time_s),
        "low_s": number_text(low),
        "high_s": number_text(high),
        "model": found.model,
        "status": "assumed" if found.assumptions else "ok",
        "assumptions": joined((*found.assumptions, *answer.notes)),
        "reason": "",
    }


def _scored(answer: OpAnswer, by: Sequence[str]) -> Scored | None:
    measured = measured_number(answer.row, MEASURED)
    if measured is None:
        return None
    low = high = value = math.nan
    if answer.estimate is not None:
        value = answer.estimate.time_s
        low, high = band(value, answer.estimate.log_sd)
    return Scored(
        group=" | ".join((answer.row.get(name) or "").strip() or "-" for name in by),
        quantity="time",
        curve=group(answer.case) if answer.case is not None else "?",
        measured=measured,
        predicted=value,
        low=low,
        high=high,
    )
