"""What the fitting tools share: measurements, provenance, lists of trials, figures of errors.

Every tool takes DATA, a folder of measurements as docs/data.md describes it, and ends with code 2
where what it needs is not there.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tapeout.constants import Z80
from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.perf.ops import split as operators
from tapeout.perf.ops.cases import OpCase, parse
from tapeout.perf.ops.convert import Converter, converter_for
from tapeout.serving import split as serving
from tapeout.serving.measured import ENDTOEND

ROOT = Path(__file__).resolve().parents[1]
OPERATOR_DATA = ROOT / "src/tapeout/perf/data/ops"
SERVING_DATA = ROOT / "src/tapeout/serving/data"
MEASURED = "measured"
OPERATOR_SPLIT = f"perf/ops/split.py, sha256 of '{operators.SALT}|group'"
SERVING_SPLIT = (
    f"serving/split.py, sha256 of '{serving.SALT}|curve', {serving.FIT_SHARE:.0%} fitted"
)
TRIAL_COLUMNS = ("date", "part", "setting", "cv_median", "cv_p90", "note")
TEXT_ENDING = "\n"


def today() -> str:
    """Date of a fit, UTC."""
    return dt.datetime.now(dt.UTC).date().isoformat()


def measured_files(data: Path, patterns: Sequence[str]) -> list[Path]:
    """Files of DATA/measured that match, sorted within each pattern.

    Raises
    ------
    InfeasibleError
        There are none.
    """
    folder = data / MEASURED
    found = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
    if not found:
        raise InfeasibleError(f"{folder / patterns[0]} does not exist; docs/data.md says what does")
    return found


def converted(
    paths: Iterable[Path], known: tuple[Converter, ...]
) -> Iterator[tuple[Path, Iterator[OpCase]]]:
    """Cases of every file that one of the converters knows."""
    for path in paths:
        converter = converter_for(path, known)
        if converter is not None:
            yield path, map(parse, converter.rows(path))


def sums_of(data: Path, paths: Iterable[Path]) -> dict[str, str]:
    """sha256 of files by their name under DATA."""
    return {
        path.relative_to(data).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def provenance(
    tool: str, split: str, sums: dict[str, str], seed: int | str = "none: nothing is drawn"
) -> dict[str, object]:
    """What every fitted file says of itself: tool, date, seed, split and sums of its inputs."""
    return {"tool": tool, "fitted": today(), "seed": seed, "split": split, "sha256": sums}


def endtoend_provenance(
    tool: str, data: Path, seed: int | str = "none: nothing is drawn"
) -> dict[str, object]:
    """Provenance of what is fitted to the end-to-end table."""
    return provenance(tool, SERVING_SPLIT, sums_of(data, [data / ENDTOEND]), seed)


def note_provenance(folder: Path, names: Iterable[str], what: dict[str, object]) -> None:
    """Write the provenance of tables that have no room for it to provenance.json beside them."""
    path = folder / "provenance.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known |= dict.fromkeys(names, what)
    text = json.dumps(dict(sorted(known.items())), indent=1)
    path.write_text(text + TEXT_ENDING, encoding="utf-8")


def lines_of(head: dict[str, object], setups: Iterable[object], encode: Callable[..., str]) -> str:
    """A file of set-ups with one line each, so that a change of one shows as one line."""
    body = ",\n".join(encode(one) for one in setups)
    return f'{json.dumps(head)[:-1]},\n"setups": [\n{body}\n]}}\n'


def append_trials(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Append to the list of everything that was tried, its header first where it is new."""
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=TEXT_ENDING)
        if new:
            writer.writerow(TRIAL_COLUMNS)
        writer.writerows(rows)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator=TEXT_ENDING)
        writer.writerow(header)
        writer.writerows(rows)


def log_sd_of(left: Floats) -> float:
    """Standard deviation whose 80 % band holds 80 % of the log errors."""
    return float(np.quantile(np.abs(left), 0.8) / Z80)
