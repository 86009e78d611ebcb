"""Names as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.catalog import load, slug
from tapeout.catalog.dates import first_day
from tapeout.errors import UnknownNameError

CATALOG = load()


@pytest.mark.parametrize(
    ("written", "chip"),
    [
        ("h100", "NVIDIA H100 SXM"),
        ("H100 SXM", "NVIDIA H100 SXM"),
        ("gb300", "NVIDIA GB300 NVL72 (per GPU)"),
        ("NVIDIA GB200 NVL72", "NVIDIA GB200 NVL72 (per GPU)"),
        ("GB300_NVL72", "NVIDIA GB300 NVL72 (per GPU)"),
        ("vera rubin", "NVIDIA Vera Rubin R200"),
        ("Jalapeño", "OpenAI Jalapeno"),
        ("mi-355x", "AMD MI355X"),
        ("Google TPU v6e (Trillium)", "Google TPU v6e Trillium"),
        ("Intel Gaudi3", "Intel Gaudi 3"),
        ("trainium3", "AWS Trainium3"),
        ("nvidia-h100-sxm", "NVIDIA H100 SXM"),
    ],
)
def test_a_chip_is_found_by_alias_spelling_and_slug(written, chip):
    assert CATALOG.chip(written).name == chip


def test_every_chip_is_found_by_its_own_name_slug_and_aliases():
    for name in CATALOG.entities():
        record = CATALOG.chip(name)
        assert record.name == name
        for other in (record.slug, *record.aliases):
            assert CATALOG.chip(other).name == name


def test_an_unknown_chip_suggests_near_ones():
    with pytest.raises(UnknownNameError, match="did you mean 'h100'") as caught:
        CATALOG.chip("h10O")
    assert caught.value.suggestions[0] == "h100"


def test_kinds_do_not_mix_and_an_unknown_one_is_named():
    assert "NVIDIA H100 SXM" not in CATALOG.entities("market")
    assert len(CATALOG.entities("chip")) == 61
    assert len(CATALOG.entities("programme")) == 74
    with pytest.raises(UnknownNameError, match="kind"):
        CATALOG.entities("chips?")


def test_an_unknown_release_is_named():
    with pytest.raises(UnknownNameError, match="2026-11-24"):
        load(release="2026-11-25")


@given(st.text())
def test_a_slug_is_stable_and_plain(text):
    once = slug(text)
    assert slug(once) == once
    assert set(once) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-08-25", "2026-08-25"),
        ("2022-03", "2022-03-01"),
        ("2026-Q1", "2026-01-01"),
        ("Q3 2026", "2026-07-01"),
        ("H2 2026 (Q3 2026)", "2026-07-01"),
        ("later in 2026 (GA)", "2026-10-01"),
        ("end of 2026 (planned, cancelled)", "2026-12-01"),
        ("2025", "2025-01-01"),
        ("soon", None),
    ],
)
def test_a_period_begins_on_its_first_day(text, day):
    found = first_day(text)
    assert (None if found is None else found.isoformat()) == day
