"""The parallelism grammar: every spelling of the public tables, and nothing that it raises on."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.perf import Degrees
from tapeout.serving.cases import parse_parallelism
from tapeout.serving.parallelism import Plan, cores_per_chip, read_plan


def main(text, chips=None, chip=""):
    return read_plan(text, chips=chips, chip=chip).main


@pytest.mark.parametrize(
    "text", ["tp8", "tp8-ep1", "tp8-ep8", "tp8-ep8-dpattn", "tp4-pp2-ep4", "tp2-dp4-ep8"]
)
def test_a_plain_text_means_what_the_strict_reader_says(text):
    assert main(text).degrees == parse_parallelism(text)
    assert read_plan(text).notes == ()


@pytest.mark.parametrize(
    ("text", "chips", "chip", "tensor"),
    [
        ("tp24 NeuronCores", 12, "AWS Inferentia2", 12),
        ("tp32 NeuronCores", 16, "AWS Trainium1", 16),
        ("tp64 logical NeuronCores (LNC=2), whole trn2.48xlarge", 16, "AWS Trainium2", 16),
        ("tp8", 4, "Google TPU v5p", 4),
        ("tp8", 8, "Google TPU v6e (Trillium)", 8),
        ("tp4 + MTP draft", 4, "Google TPU v6e (Trillium)", 4),
    ],
)
def test_cores_are_counted_in_chips(text, chips, chip, tensor):
    plan = read_plan(text, chips=chips, chip=chip)
    assert plan.main.degrees.tensor == tensor
    assert (plan.main.workers, plan.chips) == (1, chips)


def test_a_logical_core_is_two_physical_ones():
    assert cores_per_chip("AWS Trainium2", "tp64 logical NeuronCores (LNC=2)") == 4
    assert cores_per_chip("NVIDIA H100 SXM", "tp8") == 1


@pytest.mark.parametrize(
    ("text", "prefill", "decode"),
    [
        # (workers, tensor, expert, data) of each pool
        ("P[1w tp8-ep1 8gpu]+D[2w tp8-ep1 16gpu]", (1, 8, 1, 1), (2, 8, 1, 1)),
        ("P[1w tp4-ep4-dpattn 4gpu]+D[4w tp8-ep8 32gpu]", (1, 1, 4, 4), (4, 8, 8, 1)),
        ("P[1w tp1-ep8-dpattn 8gpu]+D[2w tp1-ep8 16gpu]", (1, 1, 8, 8), (2, 1, 8, 8)),
        # more chips than workers x degrees: attention groups, spread wide
        ("P[1w tp1-ep1-dpattn 4gpu]+D[1w tp1-ep1-dpattn 48gpu]", (1, 1, 1, 4), (1, 1, 48, 48)),
        # more chips than one worker of tp8 needs: two workers
        ("P[1w tp8-ep1 8gpu]+D[1w tp8-ep8-dpattn 16gpu]", (1, 8, 1, 1), (2, 1, 8, 8)),
        # no chips stated: workers x degrees
        ("P[3w tp8-ep8-dpattn]+D[2w tp8-ep1]", (3, 1, 8, 8), (2, 8, 1, 1)),
    ],
)
def test_pools_have_the_chips_that_are_stated(text, prefill, decode):
    plan = read_plan(text)
    for pool, (workers, tensor, expert, data) in ((plan.prefill, prefill), (plan.main, decode)):
        assert pool.workers == workers
        assert pool.degrees == Degrees(tensor=tensor, expert=expert, data=data)


def test_pools_that_contradict_the_row_are_told():
    (note,) = read_plan("P[1w tp8 8gpu]+D[1w tp8 8gpu]", chips=24).notes
    assert "16 chips" in note
    assert "24" in note


@pytest.mark.parametrize(
    "text",
    ["", "not stated in summary", "see submission", "8", "tp", "tp0", "tp2-tp4", "P[x]+D[y]"],
)
def test_what_names_no_degree_is_no_plan(text):
    assert read_plan(text, chips=8) is None


def test_replicas_fill_the_chips():
    assert main("tp2", chips=8).workers == 4
    assert main("tp8", chips=3).chips == 3  # degrees that cannot be: told, and made to fit
    assert "do not divide 3 chips" in read_plan("tp8", chips=3).notes[0]


@settings(max_examples=150)
@given(st.text(max_size=60), st.one_of(st.none(), st.integers(1, 300)), st.text(max_size=12))
def test_no_text_is_a_mistake(text, chips, chip):
    plan = read_plan(text, chips=chips, chip=chip)
    assert plan is None or isinstance(plan, Plan)


DEGREE = st.integers(1, 96)


@st.composite
def pool_texts(draw):
    parts = [f"tp{draw(DEGREE)}"]
    parts += [f"{name}{draw(DEGREE)}" for name in ("pp", "ep", "dp") if draw(st.booleans())]
    parts += ["dpattn"] if draw(st.booleans()) else []
    return "-".join(parts)


@settings(max_examples=150)
@given(pool_texts(), st.integers(1, 600))
def test_the_chips_of_a_row_are_conserved(text, chips):
    plan = read_plan(text, chips=chips)
    assert plan.chips == chips
    assert plan.main.degrees.ranks % plan.main.degrees.expert == 0


@settings(max_examples=150)
@given(pool_texts(), pool_texts(), st.integers(1, 12), st.integers(1, 300), st.integers(1, 300))
def test_the_chips_of_pools_are_conserved(prefill, decode, workers, first, second):
    plan = read_plan(f"P[{workers}w {prefill} {first}gpu]+D[1w {decode} {second}gpu]")
    assert (plan.prefill.chips, plan.main.chips) == (first, second)
    for pool in (plan.prefill, plan.main):
        assert pool.degrees.ranks % pool.degrees.expert == 0
