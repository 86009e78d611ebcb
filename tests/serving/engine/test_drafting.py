"""Drafts: what they cost and when they pay."""

from dataclasses import replace

import numpy as np
import pytest

from tapeout.catalog import load
from tapeout.chip import spec_from_record
from tapeout.errors import InfeasibleError
from tapeout.fabric import usual_system
from tapeout.perf import PhysicalModel, Placement, serving_formats, step_mix
from tapeout.serving.engine.costs import Load, StepCosts
from tapeout.serving.engine.defaults import setup
from tapeout.serving.engine.drafting import with_draft_passes
from tapeout.serving.engine.job import prepare
from tapeout.serving.engine.policies import Drafting, VllmV1
from tapeout.serving.engine.run import run_engine
from tapeout.serving.types import Deployment
from tapeout.serving.validation.inputs import Speculation
from tapeout.serving.validation.speculative import VerifyModel
from tapeout.workload import load_model
from tests.serving.engine.builders import constant_table, make_rules, make_trace

MODEL = PhysicalModel()
SHARE = 0.03


@pytest.fixture(scope="module")
def placement():
    system = usual_system(spec_from_record(load().chip("h100")))
    architecture = load_model("llama-3.1-8b")
    formats = serving_formats(system.chip, architecture, "fp8", stack="vllm")
    return Placement(architecture=architecture, system=system, formats=formats, stack="vllm")


def built(placement, *chances):
    policy = VllmV1(drafting=Drafting(acceptance=chances, share=SHARE) if chances else None)
    deployment = Deployment(placement=placement, policy=policy, max_sequences=512)
    return setup(deployment, MODEL, longest_context=1024)


def rate(found, in_flight):
    trace = make_trace(np.zeros(4 * in_flight), 64, 128)
    run = run_engine(prepare(trace, found.rules, in_flight=in_flight), found.rules, found.table)
    return float(trace.output_tokens.sum()) / run.totals.end_s


def test_drafts_pay_for_one_request_and_not_for_a_full_batch(placement):
    plain, drafted = built(placement), built(placement, 0.5, 0.5, 0.5)
    assert rate(drafted, 1) > 1.3 * rate(plain, 1)
    assert rate(drafted, 512) < 0.95 * rate(plain, 512)


def test_passes_alone_cost_their_share_of_a_step():
    rules = make_rules()
    table = constant_table(rules)
    found = with_draft_passes(table, drafts=3, share=0.1)
    load = Load(tokens=8, sampled=8, sequences=2, keys=100)
    plain = StepCosts(table).step_ps([load])
    assert StepCosts(found).step_ps([load]) == pytest.approx(1.3 * plain)
    prompt = Load(tokens=8, sampled=1, prompt=8, prompt_keys_twice=72)
    assert StepCosts(found).step_ps([prompt]) == StepCosts(table).step_ps([prompt])


@pytest.mark.parametrize("sequences", [1, 32, 128])
def test_a_verify_step_agrees_with_the_verify_model_of_validate(placement, sequences):
    table = built(placement, 0.7, 0.7, 0.7).table
    keys = 500 * sequences
    rows = 4 * sequences
    ours = StepCosts(table).step_ps(
        [Load(tokens=rows, sampled=rows, sequences=sequences, keys=keys)]
    )
    other = VerifyModel(
        base=MODEL,
        speculation=Speculation(drafts=3, acceptance=0.7, draft_share=SHARE),
        context_ratio=1.0,
    )
    mix = step_mix(decode=float(sequences), context=500.0)
    cost = other.step_cost(placement, mix)
    host_s = MODEL.step_cost(placement, mix).by_kind_s["overhead"]
    # That model pays the host for every row; the engine's host works by request.
    expected = cost.time_s - (cost.by_kind_s["overhead"] - host_s)
    assert ours * 1e-12 == pytest.approx(float(expected[0]), rel=0.08)


def test_no_passes_leave_the_table_alone_and_negative_ones_are_refused():
    table = constant_table(make_rules())
    assert with_draft_passes(table, drafts=0) is table
    assert with_draft_passes(table, drafts=3, share=0.0) is table
    with pytest.raises(InfeasibleError):
        with_draft_passes(table, drafts=-1)


def test_the_setup_says_what_is_assumed(placement):
    notes = " ".join(built(placement, 0.7).notes)
    assert "1 drafts a step" in notes
    assert "0.03 of a step" in notes


def test_energy_of_passes_counts(placement):
    plain = built(placement).table
    found = with_draft_passes(plain, drafts=2, share=0.5)
    load = Load(tokens=4, sampled=4, sequences=4, keys=400)
    twice = StepCosts(found).step_j([load])
    assert twice == pytest.approx(2.0 * StepCosts(plain).step_j([load]), rel=1e-3)
    assert replace(plain).idle_w == found.idle_w
