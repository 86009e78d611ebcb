"""Parameter counts against published and independently counted figures."""

import csv
import os
from decimal import Decimal
from pathlib import Path

import pytest

from tapeout.workload import count_parameters, load_model, model_names

TABLE = Path(__file__).with_name("parameters.csv")
BILLION = Decimal(10**9)


def rows():
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


ROWS = rows()
NAMES = [row["name"] for row in ROWS]


def published_misfit(count, published, step):
    """How far a count is outside the rounding of a published figure, in units of its last digit."""
    return abs(Decimal(count) / BILLION - Decimal(published)) / Decimal(step) > Decimal("0.5")


def active_of(count, convention):
    return {
        "a": count.active,
        "b": count.active_less_one_embedding,
        "c": count.active_less_both,
    }[convention]


def test_the_table_covers_every_shipped_model():
    assert sorted(NAMES) == list(model_names())
    assert len(NAMES) == 57


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_counts_are_exact_to_the_last_digit(row):
    count = count_parameters(load_model(row["name"]))
    assert count.total == int(row["total"])
    assert count.active == int(row["active"])
    assert count.active_less_one_embedding == int(row["active_less_one_embedding"])


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_published_figures_are_met_within_their_rounding_or_the_reason_is_known(row):
    count = count_parameters(load_model(row["name"]))
    total_off = published_misfit(count.total, row["published_total_b"], row["total_step_b"])
    assert total_off == bool(row["misfit_total"])
    active = active_of(count, row["active_convention"])
    active_off = published_misfit(active, row["published_active_b"], row["active_step_b"])
    assert active_off == bool(row["misfit_active"])
    # An explained misfit is a convention or a missing tower, never a wrong formula.
    assert float(count.total) == pytest.approx(1e9 * float(row["published_total_b"]), rel=0.03)


@pytest.mark.parametrize(
    ("name", "total_b", "active_b"),
    [("deepseek-v4-flash", 284, 13), ("deepseek-v4-pro", 1600, 49), ("kimi-k3", 2800, 104)],
)
def test_derived_counts_agree_with_the_published_figures(name, total_b, active_b):
    """1.6 T and 2.8 T are given to two digits; active counts leave out the input embedding."""
    count = count_parameters(load_model(name))
    assert count.total == pytest.approx(total_b * 1e9, rel=0.02)
    assert count.active_less_one_embedding == pytest.approx(active_b * 1e9, rel=0.025)


def test_deepseek_v4_attention_has_the_parameters_counted_by_hand():
    """One CSA layer of the Flash model, from the shapes of its implementation."""
    layer = load_model("deepseek-v4-flash").layers[2]
    hidden, rank, heads, width = 4096, 1024, 64, 512
    own = hidden * rank + rank + rank * heads * width + hidden * width + width + heads
    out = heads * width * 1024 + 8 * 1024 * hidden
    pool = 2 * hidden * 2 * width + 4 * 2 * width + width
    index = 2 * hidden * 2 * 128 + 4 * 2 * 128 + 128 + rank * 64 * 128 + hidden * 64
    mixer = layer.mixer
    counted = sum(matrix.elements for matrix in mixer.matrices(hidden))
    assert counted + mixer.small_elements(hidden) == own + out + pool + index


def test_tied_embeddings_are_stored_once():
    tied = load_model("qwen2.5-0.5b")
    count = count_parameters(tied)
    assert tied.tied_embeddings
    assert count.active_less_one_embedding == count.active_less_both


def test_three_conventions_differ_by_one_embedding_each():
    model = load_model("minimax-text-01")
    count = count_parameters(model)
    assert count.active - count.active_less_one_embedding == model.embedding_elements
    assert count.active_less_one_embedding - count.active_less_both == model.embedding_elements


@pytest.mark.shared_data
def test_the_table_repeats_the_reference_counts():
    root = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("TAPEOUT_DATA", root.parent / "shared" / "data")) / "models"
    if not folder.is_dir():
        pytest.skip("the folder of reference data is absent")
    with (folder / "parameters.csv").open(encoding="utf-8", newline="") as file:
        reference = {row["name"]: row for row in csv.DictReader(file)}
    for row in ROWS:
        expected = reference[row["name"]]
        if expected["count_from_config"]:
            assert row["total"] == expected["count_from_config"]
            assert row["active"] == expected["active_from_config"]
            assert (
                row["active_less_one_embedding"]
                == expected["active_from_config_less_one_embedding"]
            )
