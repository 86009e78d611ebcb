"""Fit the priors of blank chip figures to the catalogue: python tools/fit_chip_priors.py [--write].

For every ratio of data/priors.csv the chips that state both figures are collected. A chip's value
is predicted from the others at three levels: all chips, those of its memory class, and those of
its vendor (in any class, then within the class), each level pulled towards the one above by
`SHRINK` chips' worth (the usual empirical-Bayes weight n/(n + SHRINK) on medians of logs). Every
chip is left out once; the root mean square of log(predicted / stated) says how far off a filled
blank is, and a level is kept only where it makes that smaller. Parts of one die count as chips,
which flatters the spread of a small group.

`--write` rewrites src/tapeout/chip/data/priors.csv: levels that pay, `log_sd` such that the 80 %
band held 80 % of the chips left out. A written value or spread stays while the catalogue does not
contradict it (MOST_OFF); elasticities, assumptions and notes are kept.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tapeout.catalog import ChipRecord, load
from tapeout.chip.spec import CORES, memory_group, vendor_of
from tapeout.constants import Z80
from tapeout.numerics import Floats

TABLE = Path(__file__).parents[1] / "src/tapeout/chip/data/priors.csv"
SHRINK = 1.0  # chips; of 0.25 to 8, within 6 % of the best for every quantity kept by vendor
FEWEST = 3  # chips of a group that may have a row of its own
MOST_OFF = 0.1  # a written value stays while it is this close, in logs, to the fitted one
MOST_WIDER = 1.5  # a spread stays unless the fitted one is wider by more than this factor
LEAST = 0.05  # smallest spread that a handful of round numbers can support
LEVELS = ("all", "class", "vendor")
ELASTICITY = {"cores_per_root_flop": "0.05", "l2_per_core": "0.03", "cache_per_flop": "0.03"}
NOTES = {
    "cores_per_root_flop": "median of cores over the square root of bf16 FLOP/s: both cores and "
    "their rate grow (exponents 0, 0.25, 0.5, 1 miss a chip by 0.73, 0.63, 0.61, 0.86); assumed "
    "elasticity of waves",
    "l2_per_core": "median shared cache per core [B]; assumed elasticity of cached operands",
    "cache_per_flop": "median shared cache, else on-chip memory, per bf16 FLOP/s [B s], for those "
    "whose cores are no GPU cores; assumed elasticity of cached operands",
}
Key = tuple[str, str, str]
Row = dict[str, str]
COLUMNS: tuple[str, ...] = (
    "quantity",
    "group",
    "vendor",
    "value",
    "log_sd",
    "elasticity",
    "chips",
    "note",
)


@dataclass(frozen=True, slots=True)
class Ratio:
    """One chip's value of one quantity, in logs."""

    chip: str
    vendor: str
    group: str
    log: float


def ratios(record: ChipRecord) -> dict[str, float]:
    """Every ratio that the record states both figures of."""

    def value(name: str, condition: str = "") -> float:
        found = record.figure(name, condition)
        # A figure assumed from a sibling is no evidence about siblings.
        if found is None or found.chosen.status == "assumption":
            return math.nan
        return found.chosen.value

    peaks = {dtype: figure.chosen.value for dtype, figure in record.peaks().items()}
    bf16, fp8, fp4, int8 = (peaks.get(d, math.nan) for d in ("bf16", "fp8", "fp4", "int8"))
    rate = value("mem_bandwidth")
    cores = next((c for c in map(value, CORES) if c > 0.0), math.nan)
    l2 = value("l2_cache")
    found = {
        "bf16_per_fp8": bf16 / fp8,
        "bf16_per_int8": bf16 / int8,
        "fp8_per_fp4": fp8 / fp4,
        "bf16_per_byte": bf16 / rate,
        "bandwidth_per_byte": rate / value("mem_capacity"),
        "link_per_byte": value("scaleup_bw", "per-direction") / rate,
        "tdp_per_root_byte": value("tdp") / math.sqrt(rate),
        "cores_per_root_flop": cores / math.sqrt(bf16),
        "l2_per_core": l2 / cores,
        "cache_per_flop": (l2 if l2 > 0.0 else value("onchip_sram")) / bf16,
    }
    return {name: ratio for name, ratio in found.items() if ratio > 0.0}


def collect() -> dict[str, list[Ratio]]:
    """All ratios of the catalogue by quantity."""
    catalog = load()
    found: dict[str, list[Ratio]] = {}
    for name in catalog.entities("chip"):
        record = catalog.chip(name)
        fact = record.fact("mem_type")
        group = memory_group(fact.text if fact else "")
        for quantity, value in ratios(record).items():
            found.setdefault(quantity, []).append(
                Ratio(chip=name, vendor=vendor_of(name), group=group, log=math.log(value))
            )
    return found


def shrunk(rows: Iterable[Ratio], towards: float) -> float:
    """Median of the rows pulled towards the level above; that level where there are none."""
    logs = [row.log for row in rows]
    if not logs:
        return towards
    weight = len(logs) / (len(logs) + SHRINK)
    return weight * float(np.median(logs)) + (1.0 - weight) * towards


def predict(rows: list[Ratio], group: str, vendor: str, levels: str) -> float:
    """Log value for a chip of a group and a vendor; levels is "all", "class" or "vendor"."""
    level = float(np.median([row.log for row in rows]))
    if levels == "all":
        return level
    inside = [row for row in rows if row.group == group]
    level = shrunk(inside, level)
    if levels == "class":
        return level
    own = [row for row in rows if row.vendor == vendor]
    level = shrunk(own, level)
    return shrunk((row for row in own if row.group == group), level)


def left_out(rows: list[Ratio], levels: str) -> Floats:
    """Log(predicted / stated) of every chip, predicted from the others."""
    return np.array(
        [
            predict([o for o in rows if o.chip != row.chip], row.group, row.vendor, levels)
            - row.log
            for row in rows
        ]
    )


def spread(errors: Floats) -> float:
    """Standard deviation whose 80 % band holds 80 % of the errors, at least LEAST. [log]."""
    return max(LEAST, float(np.quantile(np.abs(errors), 0.8)) / Z80)


def rms(errors: Floats) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(errors**2)))


def best_level(rows: list[Ratio]) -> str:
    """Level with the smallest error on chips left out; the coarser one where they tie."""
    return min(LEVELS, key=lambda level: round(rms(left_out(rows, level)), 3))


def fitted_rows(quantity: str, rows: list[Ratio], old: Mapping[Key, Row]) -> list[Row]:
    """Rows of one quantity: classes that are there, and vendors where they pay."""
    level = best_level(rows)
    classes = sorted({key[1] for key in old if key[0] == quantity and not key[2]})
    made = [
        _row(rows, (quantity, name, ""), "all" if name == "all" else "class", old)
        for name in classes or ["all"]
    ]
    if level != "vendor":
        return made
    counts = Counter((group, row.vendor) for row in rows for group in ("all", row.group))
    pairs = sorted(pair for pair, count in counts.items() if count >= FEWEST)
    return made + [_row(rows, (quantity, *pair), "vendor", old) for pair in pairs]


def _row(rows: list[Ratio], key: Key, level: str, old: Mapping[Key, Row]) -> Row:
    """One row of the table; an old value stays while it is close, a spread is only widened."""
    quantity, group, vendor = key
    errors = left_out(rows, level)
    kept = np.array([group in {"all", row.group} and vendor in {"", row.vendor} for row in rows])
    inside = [row for row, use in zip(rows, kept, strict=True) if use]
    # A class is the median of its own chips, as the table always held; a vendor is pulled to it.
    centre = (
        predict(rows, group, vendor, "vendor")
        if vendor
        else float(np.median([row.log for row in inside]))
    )
    value, log_sd = f"{math.exp(centre):.3g}", f"{pulled_spread(errors, kept):.2f}"
    before = old.get(key)
    if before and abs(math.log(float(before["value"])) - centre) <= MOST_OFF:
        value = before["value"]
    if before and float(before["log_sd"]) * MOST_WIDER >= float(log_sd):
        log_sd = before["log_sd"]
    base = before or next((line for name, line in old.items() if name[0] == quantity), {})
    return {
        "quantity": quantity,
        "group": group,
        "vendor": vendor,
        "value": value,
        "log_sd": log_sd,
        "elasticity": base.get("elasticity") or ELASTICITY[quantity],
        "chips": str(len(inside)),
        "note": base.get("note") or NOTES[quantity],
    }


def pulled_spread(errors: Floats, inside: NDArray[np.bool_]) -> float:
    """Spread of a group, pulled towards that of all chips while the group is small."""
    weight = inside.sum() / (inside.sum() + SHRINK)
    own, whole = spread(errors[inside]), spread(errors)
    return math.sqrt(weight * own**2 + (1.0 - weight) * whole**2)


def read_table() -> dict[Key, Row]:
    """Read the table as it is, by (quantity, group, vendor)."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return {
            (row["quantity"], row["group"], row.get("vendor") or ""): row
            for row in csv.DictReader(file)
        }


def fit_table(found: Mapping[str, list[Ratio]], old: Mapping[Key, Row]) -> list[Row]:
    """Every row of the new table; assumptions without data stay as they are."""
    rows = [row for name, many in found.items() for row in fitted_rows(name, many, old)]
    rows += [dict(row) for key, row in old.items() if key[0] not in found]
    return [{name: row.get(name) or "" for name in COLUMNS} for row in rows]


def main() -> int:
    """Print how far off every level is, and write the table if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="rewrite data/priors.csv")
    given = parser.parse_args()
    found, old = collect(), read_table()
    print("quantity | chips | a chip left out, rms (median) of |log|: all, class, vendor | level")
    for quantity, rows in found.items():
        errors = [left_out(rows, level) for level in LEVELS]
        text = " | ".join(f"{rms(one):.2f} ({np.median(np.abs(one)):.2f})" for one in errors)
        print(f"{quantity} | {len(rows)} | {text} | {best_level(rows)}")
    table = fit_table(found, old)
    for row in table:
        before = old.get((row["quantity"], row["group"], row["vendor"]))
        same = before and all(before[n] == row[n] for n in ("value", "log_sd", "chips"))
        if not same:
            was = f"{before['value']} +- {before['log_sd']}" if before else "new"
            print(
                f"{row['quantity']} {row['group']} {row['vendor']}: {was} -> "
                f"{row['value']} +- {row['log_sd']} ({row['chips']} chips)"
            )
    if given.write:
        with TABLE.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
