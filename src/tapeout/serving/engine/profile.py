"""Kernel times that a profiler measured on one layer of a model, as files.

The format is that of LLMServingSim's profiler (MIT licence): `attention.csv` over (prefill_chunk,
kv_prefill, n_decode, kv_decode), `dense.csv` over token rows, `per_sequence.csv` over sampled
sequences, `moe.csv` over (tokens, activated_experts), all in microseconds, and `meta.yaml`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tapeout.constants import MICRO
from tapeout.errors import Problem, ProblemsError
from tapeout.numerics import Floats

ATTENTION_AXES = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")
TIME = "time_us"
MOST_PROBLEMS = 5  # of one file


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Time of one layer over one count, ascending. [s]."""

    at: Floats
    time_s: Floats

    def __call__(self, count: Floats) -> Floats:
        """Straight lines between the points; nothing for nothing; beyond the last its slope."""
        inside = np.interp(count, self.at, self.time_s)
        if self.at.size > 1:
            rise = (self.time_s[-1] - self.time_s[-2]) / (self.at[-1] - self.at[-2])
            inside = inside + np.maximum(count - self.at[-1], 0.0) * max(rise, 0.0)
        return np.where(count > 0.0, inside, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Times on a grid, all nodes filled; `time_s` has one axis for each of `axes`. [s]."""

    axes: tuple[Floats, ...]
    time_s: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Kernel times of one layer of a model on one chip.

    Attributes
    ----------
    dense : mapping of layer name to Curve
        Over token rows.
    per_sequence : mapping of layer name to Curve
        Over sampled sequences.
    decode : Grid
        Attention of decoding sequences alone: (sequences, keys of each).
    mixed : Grid
        With prompts: (prompt tokens, tokens cached before, sequences, keys of each); the first
        place of the third axis is no sequence.
    experts : Grid or None
        (tokens, experts hit).
    gpu, model : str
        As the profiler wrote them; empty where it did not.
    """

    dense: Mapping[str, Curve]
    per_sequence: Mapping[str, Curve]
    decode: Grid
    mixed: Grid
    experts: Grid | None
    gpu: str = ""
    model: str = ""


def read_profile(folder: Path) -> Profile:
    """Read a profile folder.

    Raises
    ------
    ProblemsError
        Every file that is missing or cannot be read, every cell that is no number.
    """
    problems: list[Problem] = []
    attention = _rows(folder / "attention.csv", ATTENTION_AXES, problems)
    dense = _curves(folder / "dense.csv", "tokens", problems)
    sampled = _curves(folder / "per_sequence.csv", "sequences", problems)
    experts = None
    if (folder / "moe.csv").is_file():
        experts = _rows(folder / "moe.csv", ("tokens", "activated_experts"), problems)
    if not problems:
        problems.extend(_gaps(folder / "attention.csv", attention))
    if problems:
        raise ProblemsError(f"profile {folder}", problems)
    named = _named(folder / "meta.yaml")
    return Profile(
        dense=dense,
        per_sequence=sampled,
        decode=_grid(attention[attention[:, 0] == 0.0][:, 2:]),
        mixed=_mixed(attention[attention[:, 0] > 0.0]),
        experts=None if experts is None else _grid(experts),
        gpu=named.get("gpu", ""),
        model=named.get("model", ""),
    )


def filled(time_s: Floats, axes: Sequence[Floats]) -> Floats:
    """Fill the nodes of a grid that were not measured (nan), at least one being there.

    Along each axis, the last one first, gaps between measured nodes get a straight line, again
    until none is left; then nodes outside what was measured take the nearest value along an axis.
    """
    result = np.array(time_s)
    for outside in (False, True):
        left = -1
        while np.isnan(result).any() and np.isnan(result).sum() != left:
            left = int(np.isnan(result).sum())
            for axis in reversed(range(result.ndim)):
                result = np.apply_along_axis(
                    _line, axis, result, np.asarray(axes[axis]), outside=outside
                )
    return result


def _line(values: Floats, at: Floats, *, outside: bool) -> Floats:
    known = ~np.isnan(values)
    if known.all() or not known.any():
        return values
    ends = {} if outside else {"left": np.nan, "right": np.nan}
    line = np.interp(at, at[known], values[known], **ends)
    return np.where(known, values, line)


def _grid(rows: Floats) -> Grid:
    """Rows of coordinates and a time as a grid; repeated coordinates are averaged."""
    places = [np.unique(column, return_inverse=True) for column in rows.T[:-1]]
    axes = tuple(values for values, _ in places)
    index = tuple(where for _, where in places)
    total, count = np.zeros([a.size for a in axes]), np.zeros([a.size for a in axes])
    np.add.at(total, index, rows[:, -1])
    np.add.at(count, index, 1.0)
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0.0)
    return Grid(axes=axes, time_s=filled(mean, axes))


def _mixed(rows: Floats) -> Grid:
    """Grid with prompts; a prompt without sequences beside it is measured at no keys."""
    alone, beside = rows[rows[:, 2] == 0.0], rows[rows[:, 2] > 0.0]
    keys = np.unique(beside[:, 3])
    repeated = np.repeat(alone, keys.size, axis=0)
    repeated[:, 3] = np.tile(keys, alone.shape[0])
    return _grid(np.concatenate([repeated, beside]))


def _curves(path: Path, count: str, problems: list[Problem]) -> Mapping[str, Curve]:
    """Curves of the layers a file names."""
    layers: list[str] = []
    rows = _rows(path, (count,), problems, names=layers)
    found: dict[str, Curve] = {}
    named = np.array(layers)
    for name in dict.fromkeys(layers):
        mine = rows[named == name]
        order = np.argsort(mine[:, 0], kind="stable")
        found[name] = Curve(at=mine[order, 0], time_s=mine[order, 1])
    return found


def _rows(
    path: Path, columns: Sequence[str], problems: list[Problem], names: list[str] | None = None
) -> Floats:
    """Columns and the time in seconds, shape (row, column + 1); layer names go to `names`."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            table = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or str(error)
        problems.append(_problem(path, "", f"cannot be read: {why}", "give a profile folder"))
        return np.zeros((0, len(columns) + 1))
    wanted = (*columns, TIME) if names is None else ("layer", *columns, TIME)
    missing = [name for name in wanted if name not in (table[0] if table else {})]
    if missing:
        what = f"has no column {', '.join(missing)}" if table else "has no rows"
        problems.append(_problem(path, "", what, f"columns: {', '.join(wanted)}"))
        return np.zeros((0, len(columns) + 1))
    values = [_numbers(path, line, row, (*columns, TIME)) for line, row in enumerate(table, 2)]
    wrong = [one for one in values if isinstance(one, Problem)]
    problems.extend(wrong[:MOST_PROBLEMS])
    if wrong:
        return np.zeros((0, len(columns) + 1))
    if names is not None:
        names.extend(row["layer"] for row in table)
    found: Floats = np.array(values, dtype=float)
    found[:, -1] *= MICRO
    return found


def _numbers(
    path: Path, line: int, row: Mapping[str, str], columns: Sequence[str]
) -> list[float] | Problem:
    values = []
    for name in columns:
        try:
            value = float(row[name])
        except (TypeError, ValueError):
            value = math.nan
        if not (math.isfinite(value) and value >= 0.0):
            where = f"{path.name}.{line}.{name}"
            text = str(row[name])[:40]
            return Problem(path=where, value=text, message="no number from 0 up")
        values.append(value)
    return values


def _gaps(path: Path, rows: Floats) -> list[Problem]:
    """What a grid cannot be made without."""
    kinds = {
        "decoding sequences alone": (rows[:, 0] == 0.0) & (rows[:, 2] > 0.0),
        "prompts alone": (rows[:, 0] > 0.0) & (rows[:, 2] == 0.0),
        "prompts beside decoding sequences": (rows[:, 0] > 0.0) & (rows[:, 2] > 0.0),
    }
    found = [name for name, where in kinds.items() if not where.any()]
    lacking = [_problem(path, "", f"has no {name}", "profile them too") for name in found]
    few = kinds["decoding sequences alone"]
    if few.any() and np.unique(rows[few, 3]).size < 2:
        lacking.append(_problem(path, "", "has one kv_decode only", "profile two or more"))
    return lacking


def _problem(path: Path, value: str, message: str, remedy: str) -> Problem:
    return Problem(path=path.name, value=value, message=message, remedy=remedy)


def _named(path: Path) -> Mapping[str, str]:
    """Top-level "key: value" lines of the profiler's notes; all else of YAML is passed over."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return {}
    pairs = (line.partition(":") for line in text.splitlines() if line[:1].isalpha())
    return {key.strip(): value.strip().strip("'\"") for key, _, value in pairs}
