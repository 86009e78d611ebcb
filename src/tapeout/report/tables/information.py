"""What to find out first: subjects by the worth of knowing them, and studies one may buy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tapeout.constants import PERCENT
from tapeout.report import formats as f
from tapeout.report.content import Cell, Row, Table, cell, left, right, row
from tapeout.report.reading import mapping, subjects

if TYPE_CHECKING:
    from tapeout.study import Results

_ALL = 100
_CLEAR = 2.0  # standard errors above zero
_SMALL = 0.01


def first(results: Results) -> Table | None:
    """Subjects whose knowledge is worth something, dearest first, and the studies."""
    whole = mapping(results, "information")
    if not whole.get("evpi_usd") and not whole.get("evpi_pair_usd"):
        return None
    studies = [
        row(one["title"], _worth(one, "evsi"), _worth(one, "evsi_pair")) for one in whole["studies"]
    ]
    known = [
        row(one["title"], _worth(one, "evppi"), _worth(one, "evppi_pair"))
        for one in subjects(results, _ALL)
    ]
    return Table(
        key="information",
        caption="What to find out first: worth of knowing it before deciding",
        columns=(
            left("what", "What"),
            right("all", "Among all strategies"),
            right("pair", "Headline or baseline"),
        ),
        rows=(
            *known,
            *_headed("A study, its price and delay not taken off", studies),
            row("Everything", _worth(whole, "evpi"), _worth(whole, "evpi_pair"), style="total"),
        ),
        notes=(
            "± one standard error; pale where two of them reach zero. None found: less than the"
            " sampling error, not nothing; every figure is a bound from below.",
            "A subject that is not listed changes neither choice.",
            *(f"{one['title']}: reports {one['reports']}." for one in whole["studies"]),
        ),
    )


def _headed(title: str, found: list[Row]) -> list[Row]:
    return [row(title, "", "", style="group"), *found] if found else []


def _worth(one: dict[str, Any], name: str) -> Cell:
    """Money with its error, pale where two errors reach zero."""
    value, error = one[f"{name}_usd"], one[f"{name}_se_usd"]
    if not value:
        return cell("none found", "muted")
    if f.missing(error):
        return cell(f.usd(value))
    text = f"{f.usd(value)} ± {f.usd(error)}"
    return cell(text, "muted" if value < _CLEAR * error else "")


def shares(results: Results) -> Table | None:
    """Shares of the variance of the saving and of its sign, by subject."""
    whole = mapping(results, "information")
    found = whole.get("subjects", [])
    found = [one for one in found if one["saving_shapley"] is not None]
    if not found:
        return None
    ordered = sorted(found, key=lambda one: (-one["saving_shapley"], one["key"]))

    def share(one: dict[str, Any], name: str) -> str:
        value = one[name]
        if value is None:
            return f.NONE
        error = one[f"{name}_se"]
        if value < _SMALL or f.missing(error):
            return "under 1 %" if value < _SMALL else f.percent(round(value, 2))
        return f"{f.percent(round(value, 2))} ± {f.integer(round(error / PERCENT))}"

    return Table(
        key="shares",
        caption="Shares of the variance of the headline's saving",
        columns=(
            left("subject", "Subject"),
            right("shapley", "Fair share (Shapley)"),
            right("first", "Alone (first order)"),
            right("total", "With interactions (total)"),
            right("decision", "Fair share of whether it saves"),
        ),
        rows=tuple(
            row(
                cell(one["title"]),
                share(one, "saving_shapley"),
                share(one, "saving_first"),
                share(one, "saving_total"),
                share(one, "decision_shapley"),
            )
            for one in ordered
        ),
        notes=(
            "The schedule and what the chip delivers are correlated, so the first and the total"
            " order do not add up; the fair shares do.",
            f"± one standard error in points, from {f.integer(whole.get('rows'))} rows.",
            "Variance is not worth: what cannot change the choice is worth nothing to know.",
        ),
    )
