"""docs/results.md names every file, column and key that a study writes."""

import re
from pathlib import Path

import pytest

from tapeout.study.results import TABLES

DOC = Path(__file__).parents[2] / "docs" / "results.md"


@pytest.fixture(scope="module")
def chapters() -> dict[str, set[str]]:
    """File name to the words in code type of its chapter."""
    parts = re.split(r"^## ", DOC.read_text("utf-8"), flags=re.MULTILINE)[1:]
    return {part.split("\n", 1)[0].strip(): set(re.findall(r"`([^`]+)`", part)) for part in parts}


@pytest.mark.parametrize("table", TABLES)
def test_every_column_is_described(build, no_build, chapters, table):
    for results in (build, no_build):
        assert set(results.tables[table].columns) - chapters[f"{table}.parquet"] == set()


def test_every_key_of_verdict_and_manifest_is_described(build, no_build, chapters):
    for results in (build, no_build):
        assert set(results.verdict) - chapters["verdict.json"] == set()
        assert set(results.manifest) - chapters["manifest.json"] == set()


def test_every_key_of_the_small_tables_is_described(build, chapters):
    names = ("calendar", "dates", "must_be_true", "offtake", "priors", "references", "regret")
    for name in (
        *names,
        "units",
        "measures",
        "ladder",
        "scale",
        "installed",
        "advantage_over_bought",
    ):
        for row in build.verdict[name]:
            assert set(row) - chapters["verdict.json"] == set(), name
