"""The ledger: paths are unique and every status is counted once."""

from typing import get_args

import pytest

from tapeout.sources import SOURCED_STATUSES, Figure, Ledger, Resolved, Status


def entry(path, status="press", value=1.0):
    return Resolved(path=path, chosen=Figure(value=value, unit="USD", status=status))


def test_every_entry_is_counted_once():
    ledger = Ledger()
    for status in get_args(Status):
        ledger.add(entry(f"a.{status}", status))
    assert ledger.counts() == {"sourced": 5, "assumed": 1, "derived": 1, "simulated": 1}
    assert sum(ledger.counts().values()) == len(ledger)


def test_only_figures_stated_outside_are_sourced():
    sourced = {status for status in get_args(Status) if entry("a", status).is_sourced}
    assert sourced == set(SOURCED_STATUSES)
    assert sourced.isdisjoint({"assumption", "derived", "simulated"})


def test_a_path_is_set_once():
    ledger = Ledger()
    ledger.add(entry("a.b"))
    with pytest.raises(AssertionError, match=r"a\.b"):
        ledger.add(entry("a.b"))


def test_the_ledger_keeps_what_was_entered_in_order():
    ledger = Ledger()
    for value, path in enumerate(("c", "a", "b")):
        ledger.add(entry(path, value=float(value)))
    assert ledger.values() == {"c": 0.0, "a": 1.0, "b": 2.0}
    assert [one.path for one in ledger] == ["c", "a", "b"]
    assert "a" in ledger
    assert "z" not in ledger
    assert ledger["b"].chosen.value == 2.0
