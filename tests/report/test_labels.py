from tapeout.economics.terms import GLOBAL_TERMS, OPTION_TERMS
from tapeout.economics.types import Holder
from tapeout.report import labels
from tapeout.report.charts.theme import HOLDER_COLOURS
from tapeout.sources import SOURCED_STATUSES


def test_every_input_of_a_scenario_has_a_name_in_plain_words():
    paths = {f"{section}.{term.name}" for section, terms in GLOBAL_TERMS.items() for term in terms}
    paths |= {f"options.{term.name}" for terms in OPTION_TERMS.values() for term in terms}
    assert paths - set(labels._FIELDS) == set()


def test_every_holder_has_a_name_and_a_colour_of_its_own():
    assert set(labels.HOLDERS) == {str(holder) for holder in Holder}
    assert len(set(HOLDER_COLOURS.values())) == len(Holder)


def test_every_status_has_a_name():
    assert set(SOURCED_STATUSES) | {"assumption", "derived", "simulated"} == set(labels.STATUSES)


def test_a_long_name_is_cut_at_a_word_after_two_lines():
    text = labels.wrapped("word " * 60, width=50)
    assert text.count("\n") == 1
    assert text.endswith("…")
    assert max(map(len, text.split("\n"))) <= 50
