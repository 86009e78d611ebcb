"""Tables of what may still be decided: the ladder of rights, and who is large enough."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tapeout.report import formats as f
from tapeout.report.content import Cell, Table, cell, left, right, row
from tapeout.report.reading import records

if TYPE_CHECKING:
    from tapeout.study import Results


def ladder(results: Results) -> Table | None:
    """What the programme is worth committed, and with each right added."""
    found = records(results, "ladder")
    if not found:
        return None
    return Table(
        key="ladder",
        caption="The programme's worth over the baseline at list prices, right by right",
        columns=(
            left("rung", "Rights"),
            right("value", "Expected worth"),
            right("gain", "The right adds"),
            right("volume", "Futures that go to volume"),
        ),
        rows=tuple(
            row(
                one["title"],
                cell(f.usd(one["value_usd"]), note=f"± {f.usd(one['se_usd'])} sampling"),
                "" if one["rung"] == "committed" else f.usd(one["gain_usd"]),
                f.percent(one["goes_on"]),
            )
            for one in found
        ),
        notes=(
            "Each line has all rights above it, and is worth whole strategies over the baseline at"
            " list. When volume is decided the owner knows what the chip delivers, its slip,"
            " steppings and whether it was cancelled; leaving then keeps what was paid before:"
            " engineering, bridge, idle halls, deposits, the write-off of firm orders. The rule is"
            " fitted on half of the futures and valued on the other, with physical probabilities at"
            " the stated discount rate. Negotiated prices count from the first purchase on, as in"
            " worlds B and C, and one more door opens: the programme kept as a threat, without"
            " volume. Waiting for a later chip, expanding, changing supplier and selling old chips"
            " on are not among the doors.",
        ),
    )


def scale(results: Results) -> Table | None:
    """Smallest scale at which building pays in expectation, for one who starts from nothing."""
    found = records(results, "scale")
    if not found:
        return None
    advantages = list(dict.fromkeys(one["g_ship"] for one in found))
    lines = []
    for stability in dict.fromkeys(one["stability"] for one in found):
        for team in dict.fromkeys(one["team_usd_per_year"] for one in found):
            mine = {
                one["g_ship"]: one
                for one in found
                if (one["stability"], one["team_usd_per_year"]) == (stability, team)
            }
            lines.append(row(stability, f.usd(team), *(_size(mine[g]) for g in advantages)))
    return Table(
        key="scale",
        caption="Smallest site at which building pays in expectation, MW of IT load",
        columns=(
            left("stability", "Shift of the workload"),
            right("team", "Software team a year"),
            *(right(f"g{g:g}", f"g_ship {g:g}x") for g in advantages),
        ),
        rows=tuple(lines),
        notes=(
            "Against the list price, with this scenario's chip cost, dates and rival; all"
            " engineering and masks are paid, none is sunk. A foundry's minimum order and the"
            " first customers' trust are not counted.",
        ),
    )


def _size(one: dict[str, Any]) -> Cell:
    mw = one["mw"]
    if mw is None or f.missing(mw) or mw == float("inf"):
        return cell("no scale", "muted")
    return cell(f.number(mw), note=f"{f.tokens(one['output_tokens_per_day'])} a day")
