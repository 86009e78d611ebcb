"""Turn a seed folder of long tables into the project's own dated release.

    python tools/import_seed.py SEED_FOLDER [--out src/tapeout/catalog/data]

Every seed row becomes one release row. Field and condition come from the rules below, and where
a row needs a human reading, from the mapping tables beside this file:

* seed_chips.csv: chip rows that need a condition, a unit or a verdict of their own, each with why;
* seed_market.csv: entity, field and condition of every market row.

A seed row that no rule and no table covers stops the run with its name.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

HERE = Path(__file__).parent
COLUMNS = [
    "entity",
    "field",
    "condition",
    "value",
    "unit",
    "low",
    "high",
    "range_kind",
    "as_of",
    "status",
    "source_url",
    "source_title",
    "note",
    "superseded",
]
Row = dict[str, str]

DTYPES = ("bf16", "fp16", "fp8", "fp4", "int8", "fp32", "6bit", "9bit")
RENAMED = {
    **{f"peak_{dtype}_dense": (f"peak_{dtype}", "dense") for dtype in DTYPES},
    **{f"gemm_{dtype}_measured": (f"peak_{dtype}", "measured gemm") for dtype in DTYPES},
    "peak_fp4_sparse": ("peak_fp4", "sparse"),
    "peak_fp4_inference": ("peak_fp4", "inference"),
    "peak_fp8": ("peak_fp8", "unlabelled"),
    "peak_fp16_dense_fp16acc": ("peak_fp16", "dense fp16-accumulate"),
    "peak_fp16_vector": ("peak_fp16", "vector"),
    "fp8_tflops_per_watt": ("fp8_flop_per_s_per_w", ""),
    "mem_bandwidth_measured": ("mem_bandwidth", "measured kernels"),
    "mem_capacity_reported": ("mem_capacity", "reported"),
    "die_area": ("die_area", "package"),
    "die_area_xcd": ("die_area", "compute-die"),
    "die_area_upper_bound": ("die_area", "upper-bound"),
    "base_clock": ("clock", "base"),
    "boost_clock": ("clock", "boost"),
    "boost_clock_reported": ("clock", "boost reported"),
    "boost_clock_tensor": ("clock", "boost tensor"),
    "power_busy": ("power", "busy"),
    "power_idle": ("power", "idle"),
    "allin_power_per_gpu": ("power", "all-in"),
    "system_power": ("power", "system"),
    "server_tdp": ("server_power", "tdp"),
    "server_power_busy": ("server_power", "busy"),
    "server_power_idle": ("server_power", "idle"),
    "process_node_nm": ("process_node", ""),
    "tco_hyperscaler": ("tco", "hyperscaler"),
    "tco_neocloud": ("tco", "neocloud"),
    "tco_chip_hour": ("tco", "unstated tier"),
    "rental_blended": ("rental", "blended"),
    "rental_spot": ("rental", "spot"),
    "cost_per_M_tokens_llama70b": ("cost_per_mtok", "llama-3.3-70b"),
    "cost_per_M_tokens_gptoss120b": ("cost_per_mtok", "gpt-oss-120b"),
    "cost_per_token_claim": ("cost_per_token_change", "vs blackwell"),
    "cost_per_token_vs_b200": ("cost_per_token_change", "vs b200"),
    "cost_per_token_vs_hopper": ("cost_per_token_advantage", "vs hopper"),
    "cost_vs_gpu_claim": ("cost_change", "vs gpu"),
    "perf_per_dollar_claim": ("perf_per_dollar_gain", "vs own fleet"),
    "perf_per_dollar_vs_v7": ("perf_per_dollar_gain", "vs tpu v7"),
    "perf_per_watt_vs_v7": ("perf_per_watt_gain", "vs tpu v7"),
    "tokens_per_dollar_vs_b200": ("tokens_per_dollar_gain", "vs b200"),
    "tco_vs_gb200": ("tco_change", "vs gb200"),
    "tco_per_M_tokens_vs_single_node": ("tco_per_token_advantage", "vs single node"),
    "speed_vs_cpu_gpu": ("speed_ratio", "vs cpu and gpu"),
    "tops_per_watt_vs_cpu_gpu": ("ops_per_watt_ratio", "vs cpu and gpu"),
    "throughput_per_mw_claim": ("throughput_per_w_ratio", "vs blackwell nvl72"),
    "microsoft_share": ("third_party_share", "microsoft"),
}
HYPERSCALERS = ("AWS", "Google", "Azure", "Oracle", "OCI")
CI90 = ("90% CI", "5-95%", "90 % CI")


def read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def range_kind(row: Row) -> str:
    """Say what the seed's low and high mean."""
    if row["low"] and row["high"]:
        return "ci90" if any(mark in row["note"] for mark in CI90) else "minmax"
    if row["low"] or row["high"]:
        return "one_sided"
    return "none"


def link_condition(row: Row) -> str:
    """Direction of a link rate: as the note says, else NVIDIA's habit, else unstated."""
    note = row["note"].lower()
    if "per direction" in note:
        return "per-direction"
    if "bidirectional" in note or row["chip"].startswith("NVIDIA"):
        return "bidirectional"
    return "unstated direction"


def seller(row: Row) -> str:
    """Hyperscaler or neocloud, from the chip and the source."""
    if row["chip"].startswith(("AWS", "Google")):
        return "hyperscaler"
    text = f"{row['source_title']} {row['note']}"
    return "hyperscaler" if any(name in text for name in HYPERSCALERS) else "neocloud"


def rental_condition(row: Row) -> str:
    """Term and seller of a rental price."""
    text = f"{row['source_title']} {row['note']}".lower()
    if row["field"] == "rental_ondemand":
        index = "silicon data" in text or "median of the author" in text
        return "on-demand index" if index else f"on-demand {seller(row)}"
    if "capacity block" in text:
        return "capacity-block"
    for term in ("3-year", "1-year"):
        if term in text:
            return term
    return "reserved neocloud"


def chip_field(row: Row) -> tuple[str, str]:
    """Release field and condition of one chip row."""
    name = row["field"]
    if name == "scaleup_bw":
        return name, link_condition(row)
    if name in ("rental_ondemand", "rental_committed"):
        return "rental", rental_condition(row)
    return RENAMED.get(name, (name, ""))


def release_row(row: Row, entity: str, field: str, condition: str) -> Row:
    """Rewrite one seed row in the release's columns."""
    return {
        "entity": entity,
        "field": field,
        "condition": condition,
        **{name: row[name] for name in ("value", "unit", "low", "high", "status")},
        "range_kind": range_kind(row),
        "as_of": row["date"],
        **{name: row[name] for name in ("source_url", "source_title", "note")},
        "superseded": "",
    }


def convert_chips(seed: Path) -> list[Row]:
    """Convert chips.csv by rule, then apply the hand-made table."""
    fixes = read(HERE / "seed_chips.csv")
    unused = dict(enumerate(fixes))
    release = []
    for row in read(seed / "chips.csv"):
        field, condition = chip_field(row)
        made = release_row(row, row["chip"], field, condition)
        for index, fix in enumerate(fixes):
            if matches(fix, row):
                unused.pop(index, None)
                apply_fix(made, fix)
        release.append(made)
    if unused:
        sys.exit(f"seed_chips.csv: no seed row for {list(unused.values())}")
    release += [{name: fix[name] for name in COLUMNS} for fix in read(HERE / "own_chips.csv")]
    return release


def matches(fix: Row, row: Row) -> bool:
    """True if the fix is meant for this row; an empty cell of the fix matches anything."""
    return all(
        not fix[name] or fix[name] == row[name] for name in ("chip", "field", "value", "date")
    )


def apply_fix(made: Row, fix: Row) -> None:
    """Overwrite what the fix names."""
    for name in ("condition", "unit", "range_kind", "superseded"):
        if fix[f"new_{name}"]:
            made[name] = "" if fix[f"new_{name}"] == "-" else fix[f"new_{name}"]
    if fix["why"]:
        made["note"] = f"{made['note']} [reading: {fix['why']}]".strip()


def convert_market(seed: Path) -> list[Row]:
    """Convert economics.csv by the mapping table."""
    table = {(row["topic"], row["item"]): row for row in read(HERE / "seed_market.csv")}
    release, missing = [], []
    for row in read(seed / "economics.csv"):
        to = table.get((row["topic"], row["item"]))
        if to is None:
            missing.append(f"{row['topic']} / {row['item']}")
            continue
        made = release_row(row, to["entity"], to["field"], to["condition"])
        if to["field"] == "api_price" and row["status"] == "vendor_claim":
            made["range_kind"] = "exact"  # a seller's own list price is what it charges
        made["note"] = f"{row['item']}; {row['note']}" if row["note"] else row["item"]
        made["superseded"] = to["superseded"]
        for name in ("unit", "low", "high"):
            if to[f"new_{name}"]:
                made[name] = to[f"new_{name}"].removesuffix("-")
        release.append(made)
    if missing:
        sys.exit("seed_market.csv lacks\n" + "\n".join(missing))
    return release


def convert_programmes(seed: Path) -> list[Row]:
    """Programmes keep their own columns: a dated event is not a figure of a field."""
    return read(seed / "programmes.csv")


def write(path: Path, rows: list[Row], columns: list[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{path}: {len(rows)} rows")


def convert_all(seed: Path, out: Path) -> None:
    """Write the three tables of the release."""
    for name, convert in (
        ("chips", convert_chips),
        ("market", convert_market),
        ("programmes", convert_programmes),
    ):
        rows = convert(seed)
        if name != "programmes":
            rows.sort(key=lambda row: (row["entity"], row["field"], row["condition"]))
        columns = list(rows[0]) if name == "programmes" else list(COLUMNS)
        write(out / f"{name}.csv", rows, columns)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("seed", type=Path)
    parser.add_argument(
        "--out", type=Path, default=HERE.parent / "src" / "tapeout" / "catalog" / "data"
    )
    given = parser.parse_args()
    convert_all(given.seed, given.out)


if __name__ == "__main__":
    main()
