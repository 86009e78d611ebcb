"""The compiled engine against the readable one, event by event, with and without jumps."""

from dataclasses import fields

import numpy as np
import pytest

from tapeout.errors import InfeasibleError
from tapeout.serving.engine.reference import run_reference
from tapeout.serving.engine.run import run_engine
from tapeout.serving.engine.types import Allocation, Order
from tests.serving.engine.builders import (
    constant_table,
    make_job,
    make_prefixes,
    make_rules,
    make_table,
    random_case,
)

QUICK = range(120)
ALL = range(120, 1150)


def known(seed):
    """A random case with rules that the compiled engine takes; every fifth is SGLang's."""
    own = {"order": Order.SGLANG, "allocation": Allocation.LAZY, "drafts": 0, "acceptance": (),
           "reserved": 700_000_000 // (1 + seed % 4)}  # fmt: skip
    job, rules, table = random_case(seed, **(own if seed % 5 == 0 else {}))
    refused = rules.order is Order.DECODE_FIRST and rules.prefix_cache
    return None if refused else (job, rules, table)


def same(one, two):
    """True where two values are equal to the last bit, nan being equal to nan."""
    one, two = np.asarray(one), np.asarray(two)
    return np.array_equal(one, two, equal_nan=one.dtype.kind == "f")


def differences(one, two):
    """Names of what differs between two runs; sums of reals may differ by rounding."""
    found = []
    for part in ("log", "requests", "totals", "timeline", "gaps"):
        for field in fields(getattr(one, part)):
            a, b = (getattr(getattr(run, part), field.name) for run in (one, two))
            rounded = field.name in {"energy_j", "running_s", "blocks_s", "busy_s"}
            near = part == "timeline" or rounded
            equal = np.shape(a) == np.shape(b) and (
                np.allclose(a, b, rtol=1e-9, atol=1e-15, equal_nan=True) if near else same(a, b)
            )
            if not equal:
                found.append(f"{part}.{field.name}")
    return found


def compare(seeds):
    compared = 0
    for seed in seeds:
        case = known(seed)
        if case is None:
            continue
        since_s = 0.05 * (seed % 3)
        expected = run_reference(*case, samples_s=0.01, log=True, gaps_from_s=since_s)
        for jump in (True, False):
            got = run_engine(*case, samples_s=0.01, log=True, jump=jump, gaps_from_s=since_s)
            assert differences(expected, got) == [], (seed, jump, case[1])
        compared += 1
    return compared


def test_the_compiled_engine_writes_the_log_of_the_readable_one():
    assert compare(QUICK) >= 80


@pytest.mark.slow
def test_a_thousand_logs_are_equal():
    assert compare(QUICK) + compare(ALL) >= 900


def test_long_decodes_taken_at_once_are_those_taken_one_by_one():
    rules = make_rules(
        token_budget=64, max_sequences=8, block_tokens=16, kv_blocks=120, prefix_cache=True
    )
    rng = np.random.default_rng(3)
    arrival = np.sort(rng.uniform(0.0, 0.4, 40))
    job = make_job(arrival, rng.integers(1, 90, 40), rng.integers(1, 700, 40), rules)
    table = constant_table(rules)
    keep = {"samples_s": 0.05, "log": True, "gaps_from_s": 0.2}
    at_once = run_engine(job, rules, table, **keep)
    singly = run_engine(job, rules, table, **keep, jump=False)
    assert at_once.totals.preemptions > 0
    assert differences(singly, at_once) == []


def test_a_log_longer_than_expected_is_kept_whole():
    rules = make_rules(token_budget=64, max_sequences=8, kv_blocks=12)
    job = make_job(np.zeros(12), np.full(12, 8), np.full(12, 30), rules)
    table = constant_table(rules)
    expected, got = (run(job, rules, table, log=True) for run in (run_reference, run_engine))
    assert expected.log.kind.size > 4 * 12
    assert same(expected.log.kind, got.log.kind)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"order": Order.DECODE_FIRST, "prefix_cache": True}, "no prefix cache"),
        ({"drafts": 2, "acceptance": (0.5,)}, "2 drafts but 1"),
        ({"kv_blocks": 0}, "at least 1"),
        ({"token_budget": 1, "drafts": 1, "acceptance": (0.5,)}, "verification"),
    ],
)
def test_rules_that_no_engine_has_are_refused(changes, words):
    sound = make_rules()
    job, table = make_job(np.zeros(1), [4], [4], sound), make_table(sound)
    with pytest.raises(InfeasibleError, match=words):
        run_engine(job, make_rules(**changes), table)


def test_the_next_turn_finds_the_answer_of_the_one_before():
    rules = make_rules(prefix_cache=True, block_tokens=4)
    job = make_job(
        np.zeros(2), [8, 16], [6, 2], rules, parent=np.array([-1, 0]), think_s=np.array([0.0, 1.0]),
        prefixes=make_prefixes([[0, 1, 2], [0, 1, 2, 3]], 4),
    )  # fmt: skip
    table = constant_table(rules)
    expected, got = (run(job, rules, table, log=True) for run in (run_reference, run_engine))
    assert expected.requests.hit_tokens.tolist() == [0, 12]  # 8 of the prompt and 4 of the answer
    assert got.requests.hit_tokens.tolist() == [0, 12]
