"""Laws of serving: the known defects of published figures fire, sound figures do not."""

from dataclasses import replace

import pytest

from tapeout.catalog import load
from tapeout.chip import spec_from_record
from tapeout.fabric import usual_system
from tapeout.perf import serving_formats
from tapeout.serving.sanity import Figures, check
from tapeout.workload import load_model


def figures(chip="h100", model="llama-3.1-8b", precision="bf16", **known):
    system = usual_system(spec_from_record(load().chip(chip)))
    architecture = load_model(model)
    return Figures(
        system=system,
        architecture=architecture,
        formats=serving_formats(system.chip, architecture, precision),
        **known,
    )


def named(found, name):
    (one,) = [one for one in found if one.name == name]
    return one


SOUND = {
    # 64 requests, 8 chips: 100 ms + 999 x 10 ms = 10.09 s, so 64 / 10.09 x 1,000 / 8 tokens/s
    "chips": 8.0,
    "concurrency": 64.0,
    "new_tokens": 1000.0,
    "output_tokens": 1000.0,
    "ttft_s": 0.1,
    "tpot_s": 0.010,
    "output_tokens_per_s_per_chip": 792.9,
    "total_tokens_per_s_per_chip": 2 * 792.9,
    "power_w_per_chip": 500.0,
    "joule_per_output_token": 500.0 / 792.9,
    "replica_chips": 2.0,
}


def test_sound_figures_break_nothing():
    found = check(figures(**SOUND))
    assert {one.name for one in found} >= {
        "Little's law", "weight-read floor", "arithmetic limit", "energy x rate", "chips",
        "total rate", "peak bf16 from its parts",
    }  # fmt: skip
    assert [one.name for one in found if one.fires] == []


def test_41_us_a_token_for_15_gb_of_weights_is_impossible():
    """Published, 100 times too fast; Little's law does not see it (reference, timing 7)."""
    at_41_us = figures(chips=1.0, concurrency=1.0, output_tokens=1000.0, ttft_s=0.0,
                       tpot_s=41e-6, output_tokens_per_s_per_chip=1 / 41e-6)  # fmt: skip
    found = check(at_41_us)
    floor = named(found, "weight-read floor")
    assert floor.fires
    assert floor.limit == pytest.approx(15.0e9 / 3.35e12, rel=0.01)
    assert floor.limit / floor.figure == pytest.approx(109, rel=0.02)
    assert not named(found, "Little's law").fires


@pytest.mark.parametrize("factor", [24.0, 1.5, 1 / 1.5])
def test_a_wrong_number_of_chips_breaks_littles_law(factor):
    """All H100 gpt-oss-120b rows at concurrency 512 were 1.5 to 24 times off upstream."""
    rate = SOUND["output_tokens_per_s_per_chip"] * factor
    found = check(figures(**SOUND | {"output_tokens_per_s_per_chip": rate}))
    assert named(found, "Little's law").fires


def test_rates_over_decode_chips_only_break_littles_law():
    """Divided by D of P + D chips they overstate by (P + D) / D."""
    found = check(figures(**SOUND | {"output_tokens_per_s_per_chip": 792.9 * (8 + 4) / 8}))
    assert named(found, "Little's law").fires


@pytest.mark.parametrize(
    ("stated", "fires", "words"),
    [
        (989.4e12, False, "the dense rate"),
        (1978.9e12, True, "twice the dense rate: sparse"),
        (494.7e12, True, "half of it"),
        (1400e12, True, "neither"),
    ],
)
def test_a_sparse_peak_is_told_from_a_dense_one(stated, fires, words):
    one = named(check(figures(stated_peak_flop_per_s=stated)), "dense or sparse")
    assert one.fires is fires
    assert words in one.sentence


def test_more_tokens_than_the_dense_peak_allows_are_told_apart_from_impossible_ones():
    plain = figures(output_tokens_per_s_per_chip=1.0)
    limit = named(check(plain), "arithmetic limit").limit
    assert limit == pytest.approx(989.4e12 / (2 * 7.5e9), rel=0.02)  # all weights but the table
    for factor, fires, words in (
        (0.9, False, "90%"),
        (1.8, True, "sparse"),
        (3.0, True, "more than"),
    ):
        one = named(
            check(replace(plain, output_tokens_per_s_per_chip=factor * limit)), "arithmetic limit"
        )
        assert one.fires is fires
        assert words in one.sentence


def test_input_counted_as_output_is_seen():
    found = check(figures(**SOUND | {"total_tokens_per_s_per_chip": 792.9}))
    assert named(found, "total rate").fires


def test_energy_times_rate_is_power():
    found = check(figures(**SOUND | {"joule_per_output_token": 1.0}))
    assert named(found, "energy x rate").fires


def test_a_fraction_of_a_replica_is_no_run():
    assert named(check(figures(**SOUND | {"replica_chips": 3.0})), "chips").fires
    assert named(check(figures(**SOUND | {"replica_chips": 16.0})), "chips").fires


def test_several_tokens_a_step_lower_the_floor():
    plain = figures(chips=1.0, concurrency=1.0, tpot_s=2e-3)
    assert named(check(plain), "weight-read floor").fires
    assert not named(check(replace(plain, tokens_per_step=4.0)), "weight-read floor").fires


def test_what_is_not_known_is_not_checked():
    assert [one.name for one in check(Figures())] == []
