"""Recurrences: FLOP and bytes by hand, published sizes of states, limits."""

import numpy as np
import pytest

from tapeout.chip import ChipSpec
from tapeout.errors import InfeasibleError
from tapeout.perf.ops.attention import AttentionRates
from tapeout.perf.ops.cases import parse
from tapeout.perf.ops.scan import (
    KINDS,
    LAUNCH_S,
    Scan,
    decode_flop,
    estimate,
    prefill_flop,
    scan_s,
    state_bytes,
)

RATES = AttentionRates(peak_flop_per_s=1e15, bytes_per_s=3e12, cores=132.0)
CHIP = ChipSpec(
    name="plain", peak_flop_per_s={"bf16": 1e15}, memory_bytes=8e10, memory_bytes_per_s=3e12
)


def scan(kind="mamba2", **changes):
    plain = {"batch": 64.0, "q": 1.0, "heads": 128.0, "head_dim": 64.0, "state_dim": 128.0}
    return Scan(kind=kind, **{name: np.asarray(one) for name, one in (plain | changes).items()})


def test_decode_flop_by_hand():
    elements = 128 * 64 * 128
    assert float(decode_flop(scan("mamba1"))) == 9 * elements
    assert float(decode_flop(scan("mamba2"))) == 5 * elements
    assert float(decode_flop(scan("gated_deltanet"))) == 7 * elements
    assert float(decode_flop(scan("linear_attention"))) == 4 * elements


def test_chunked_flop_by_hand():
    """Mamba-2: Q (G N + H p) + 4 H p N + 3 H p N / Q, the chunk of 256."""
    inside = 256 * (128 + 128 * 64) + (4 + 3 / 256) * 128 * 64 * 128
    assert float(prefill_flop(scan("mamba2", q=4096.0))) == pytest.approx(inside)
    delta = 128 * (2 * 64 * (3 * 128 + 2 * 64) + 6 * 64 * 128 + 64**2 / 3)
    assert float(prefill_flop(scan("gated_deltanet", q=4096.0))) == pytest.approx(delta)


def test_published_size_of_a_state():
    """mamba-codestral-7b: 64 layers, 128 heads of 64 x 128 in fp32 are 268 MB a sequence."""
    one = scan(batch=1.0)
    assert 64 * float(state_bytes(one)) / 2.0 == pytest.approx(268e6, rel=0.01)


def test_decode_of_many_sequences_tends_to_the_states_read_and_written():
    one = scan(batch=4096.0)
    ideal = float(state_bytes(one)) / (RATES.bytes_per_s * 0.75)
    assert float(scan_s(one, RATES)) == pytest.approx(ideal, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("field", ["batch", "q", "heads"])
def test_more_work_never_takes_less_time(kind, field):
    values = np.array([2.0, 8.0, 64.0, 512.0, 4096.0])
    times = scan_s(scan(kind, **{"q": 64.0, field: values}), RATES)
    assert np.all(np.diff(times) >= -1e-12)
    assert np.all(times > LAUNCH_S)


def test_time_of_a_decode_step_does_not_depend_on_context():
    """There is no context: the case has none, and a longer one changes nothing."""
    row = {"chip": "plain", "op": "scan", "heads": "64", "batch": "8"}
    short = estimate(parse(row), CHIP)
    assert short.time_s == estimate(parse(row | {"kv_len": "100000"}), CHIP).time_s


def test_token_rows_stand_for_sequences():
    row = {"chip": "plain", "op": "scan", "heads": "64"}
    assert (
        estimate(parse(row | {"m": "32"}), CHIP).time_s
        == estimate(parse(row | {"batch": "32", "q_len": "1"}), CHIP).time_s
    )


def test_unknown_recurrence_and_missing_heads_are_refused():
    with pytest.raises(InfeasibleError, match="none of"):
        estimate(parse({"chip": "c", "op": "scan", "heads": "8", "kernel": "s4"}), CHIP)
    with pytest.raises(InfeasibleError, match="heads"):
        estimate(parse({"chip": "c", "op": "scan"}), CHIP)


def test_assumptions_are_listed():
    words = " ".join(estimate(parse({"chip": "c", "op": "scan", "heads": "8"}), CHIP).assumptions)
    assert "no recurrence was measured" in words
    assert "state_dim 128" in words
    assert "mamba2" in words
