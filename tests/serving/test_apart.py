"""Links between pools, and a deployment with prefill apart."""

from dataclasses import replace

import numpy as np
import pytest

from tapeout.catalog import load
from tapeout.chip import spec_from_record
from tapeout.errors import InfeasibleError
from tapeout.fabric import usual_system
from tapeout.perf import Placement, kv_per_chip_bytes, serving_formats
from tapeout.serving.apart import Apart, link_between
from tapeout.serving.engine.handover import Link
from tapeout.serving.simulate import Options, simulate
from tapeout.serving.traffic import Trace
from tapeout.serving.types import Deployment
from tapeout.workload import load_model


def placed(chip="h100", model="llama-3.1-8b", precision="fp8", **degrees):
    system = usual_system(spec_from_record(load().chip(chip)))
    architecture = load_model(model)
    formats = serving_formats(system.chip, architecture, precision, stack="vllm")
    return Placement(
        architecture=architecture, system=system, formats=formats, stack="vllm", **degrees
    )


def time_s(link, tokens):
    return link.fixed_s + link.token_s * tokens


def test_a_link_moves_the_cache_of_a_chip_at_the_rate_of_its_port():
    place = placed()
    link = link_between(place, place, longest=8000)
    moved = float(kv_per_chip_bytes(place, 4000.0))
    assert time_s(link, 4000) == pytest.approx(moved / place.system.nic_bytes_per_s)
    assert link.layers == 32


def test_the_side_with_more_bytes_a_chip_is_waited_for():
    one, four = placed(), placed(tensor_parallel=4)
    there = link_between(one, four, longest=8000).token_s
    assert there == pytest.approx(link_between(four, one, longest=8000).token_s)
    assert there == pytest.approx(4.0 * link_between(four, four, longest=8000).token_s)


def test_a_slow_port_on_either_side_counts():
    quick = placed()
    slow = replace(quick, system=replace(quick.system, nic_bytes_per_s=5e9))
    times = {link_between(a, b, longest=999).token_s for a, b in ((quick, slow), (slow, quick))}
    assert min(times) == pytest.approx(10.0 * link_between(quick, quick, longest=999).token_s)
    assert max(times) == pytest.approx(min(times))


def test_a_latent_goes_whole_to_every_tensor_rank():
    links = [
        link_between(place, place, longest=8000)
        for place in (placed(model="deepseek-r1-0528", tensor_parallel=tensor) for tensor in (4, 8))
    ]
    assert links[0].token_s == pytest.approx(links[1].token_s)


def test_other_models_are_refused():
    with pytest.raises(InfeasibleError, match="same model"):
        link_between(placed(), placed(model="llama-3.3-70b"), longest=10)


def test_link_times_grow_with_tokens():
    link = Link(token_s=2.0, fixed_s=1.0)
    assert link.time_s(np.array([0, 3])).tolist() == [1.0, 7.0]


def test_prefill_on_another_chip_frees_decode_steps_of_prompts():
    trace = Trace(
        arrival_s=np.arange(80) * 0.05,
        input_tokens=np.full(80, 2000),
        output_tokens=np.full(80, 40),
    )
    deployment = Deployment(placement=placed(), max_sequences=64)
    apart = Apart(prefill=Deployment(placement=placed("b200"), max_sequences=64))
    together = simulate(deployment, trace)
    split = simulate(deployment, trace, options=Options(apart=apart))
    assert split.setting.chips == 2
    assert split.setting.replicas == 2
    gaps = [one.summary.latencies["tpot"]["p90"].value for one in (together, split)]
    assert gaps[1] < 0.8 * gaps[0]
    assert any("prefill apart" in note for note in split.setup.notes)
