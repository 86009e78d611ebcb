"""Errors name the field, the value and the remedy, all at once; outcomes have sentences."""

import pytest

from tapeout.errors import (
    DoesNotFitError,
    InfeasibleError,
    Outcome,
    Problem,
    ProblemsError,
    TapeoutError,
    UnknownNameError,
    did_you_mean,
    nearest,
)


def test_a_problem_names_the_field_the_value_and_the_remedy():
    one = Problem(path="options.b.chip", value="'h10O'", message="no such chip", remedy="try h100")
    assert one.line() == "options.b.chip = 'h10O': no such chip; try h100"


def test_a_problem_without_value_or_remedy_leaves_no_gap():
    assert Problem(path="scale.mw", value="", message="missing").line() == "scale.mw: missing"


def test_all_problems_stand_in_one_error():
    error = ProblemsError(
        "scenario x", [Problem(path=p, value="", message="missing") for p in ("a", "b")]
    )
    assert str(error) == "scenario x: 2 problems\n  - a: missing\n  - b: missing"
    assert str(ProblemsError("y", error.problems[:1])).startswith("y: 1 problem\n")


def test_an_unknown_name_brings_the_nearest_known_ones():
    error = UnknownNameError("chip", "h10O", ["NVIDIA", "H100", "H200", "TPU"])
    assert error.suggestions[0] == "H100"
    assert str(error).startswith("unknown chip 'h10O'; did you mean 'H100'")


def test_a_name_like_no_other_brings_no_suggestion():
    assert str(UnknownNameError("chip", "zzzz", ["H100"])) == "unknown chip 'zzzz'"


@pytest.mark.parametrize(
    ("names", "text"),
    [((), ""), (("a",), "'a'"), (("a", "b"), "'a' or 'b'"), (("a", "b", "c"), "'a', 'b' or 'c'")],
)
def test_suggestions_read_as_english(names, text):
    assert did_you_mean(names) == text


def test_suggestions_ignore_case_and_keep_the_spelling():
    assert nearest("tpu V7", ["TPU v7", "H100"]) == ("TPU v7",)


def test_too_little_memory_says_how_much_is_needed():
    error = DoesNotFitError("model x", required_bytes=120e9, available_bytes=80e9)
    assert "model x needs 120.0 GB a chip, 80.0 GB is available; use more chips" in str(error)
    assert isinstance(error, InfeasibleError)
    assert isinstance(error, TapeoutError)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_has_its_own_sentence(outcome):
    others = {one.sentence for one in Outcome if one != outcome}
    assert outcome.sentence
    assert outcome.sentence not in others
