"""The capacity table: what a chip serves, workload by workload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tapeout.errors import Outcome
from tapeout.report import formats as f
from tapeout.report.content import Row, Table, cell, left, right, row
from tapeout.report.reading import rows

if TYPE_CHECKING:
    from tapeout.study import Results

_COLUMNS = (
    left("silicon", "Silicon"),
    right("output", "Output tokens/s a chip"),
    right("energy", "J per output token"),
    right("tpot", "TPOT"),
    right("ttft", "TTFT"),
    right("batch", "Sequences at once"),
    left("placement", "Placement"),
)


def _line(one: dict[str, Any]) -> Row:
    if one["outcome"] != Outcome.OK.name:
        reason = Outcome[one["outcome"]].sentence
        return row(cell(one["silicon"], note=reason), *[f.NONE] * (len(_COLUMNS) - 1))
    chips = one["chips_per_replica"]
    return row(
        one["silicon"],
        f.number(one["output_tokens_per_s_per_chip"]),
        f.number(one["joule_per_output_token"]),
        f.milliseconds(one["tpot_s"]),
        f.milliseconds(one["ttft_s"]),
        f.integer(one["batch_sequences"]),
        cell(one["placement"], note=f"{chips} chip{'s' if chips != 1 else ''} a replica"),
    )


def _fastest_first(one: dict[str, Any]) -> tuple[bool, float]:
    fits = one["outcome"] == Outcome.OK.name
    return not fits, -one["output_tokens_per_s_per_chip"] if fits else 0.0


def capacity(results: Results) -> list[Table]:
    """One table per workload; those a future may shift to come last."""
    found = rows(results, "capacity")
    out = []
    for name, shifted in dict.fromkeys((one["workload"], one["shifted"]) for one in found):
        of_this = [one for one in found if one["workload"] == name]
        kind = "a workload that a future may shift to" if shifted else "part of the basket"
        out.append(
            Table(
                key=f"capacity-{name}",
                caption=f"Capacity for “{name}”, {kind}",
                columns=_COLUMNS,
                rows=tuple(_line(one) for one in sorted(of_this, key=_fastest_first)),
            )
        )
    return out
