from dataclasses import replace

import pytest

from tapeout.perf.ops.store import Distance, Setup, Wanted, geometric_mean, nearest


def setup(chip, stack="vllm-0.24.0", dtype="bf16", eta=1.0, kernel=""):
    return Setup(
        chip=chip, stack=stack, dtype=dtype, kernel=kernel, constants={"eta": eta, "zero": 0.0},
        log_sd=0.05, rows=10, fitted="2026-11-25", source="test",
    )  # fmt: skip


KNOWN = (
    setup("NVIDIA H100 SXM", eta=1.0),
    setup("NVIDIA H100 SXM", dtype="fp8", eta=0.5, kernel="Cutlass"),
    setup("NVIDIA B200", stack="trtllm-1.3.0rc20", eta=4.0),
    setup("Intel Arc Pro B60", eta=0.25),
)


@pytest.mark.parametrize(
    ("wanted", "distance", "eta"),
    [
        (Wanted(chip="NVIDIA H100 SXM", stack="vLLM 0.24.0", dtype="bf16"), Distance.EXACT, 1.0),
        (Wanted(chip="NVIDIA H100 SXM", dtype="fp8"), Distance.EXACT, 0.5),
        (Wanted(chip="NVIDIA H100 SXM", stack="sglang-1", dtype="bf16"), Distance.OTHER_STACK, 1.0),
        (Wanted(chip="NVIDIA H200 SXM", dtype="fp8"), Distance.FAMILY, 0.5),
        (Wanted(chip="NVIDIA A100 80GB SXM", dtype="bf16"), Distance.VENDOR, 2.0),
        (Wanted(chip="Etched Sohu", dtype="bf16"), Distance.ANY, 1.0),
    ],
)  # fmt: skip
def test_the_nearest_set_up_speaks_for_a_case(wanted, distance, eta):
    found = nearest(KNOWN, wanted)
    assert found.distance is distance
    assert found.setup.constants["eta"] == pytest.approx(eta)
    assert bool(found.assumption) == (distance is not Distance.EXACT)


def test_the_band_never_narrows_with_distance():
    chips = ("NVIDIA H100 SXM", "NVIDIA H200 SXM", "NVIDIA A100 80GB SXM", "Etched Sohu")
    widths = [nearest(KNOWN, Wanted(chip=chip, dtype="bf16")).log_sd for chip in chips]
    assert widths == sorted(widths)


def test_a_chip_left_out_is_answered_by_the_others():
    found = nearest(KNOWN, Wanted(chip="NVIDIA B200", dtype="bf16"), without="NVIDIA B200")
    assert found.distance is Distance.VENDOR
    assert "H100" in found.assumption


def test_a_blend_of_one_is_itself():
    assert geometric_mean(KNOWN[:1]).constants == KNOWN[0].constants


SAME_LEVEL = (
    setup("NVIDIA A100 80GB SXM", stack="vllm-0.24.0", eta=1.0, kernel=""),
    setup("NVIDIA B200", stack="trtllm-1.3.0rc20", eta=4.0, kernel="torch_flow"),
)


@pytest.mark.parametrize(
    "software", [{}, {"stack": "vllm-0.24.0"}, {"stack": "x-1"}, {"kernel": "torch_flow"}]
)
def test_across_chips_neither_software_nor_a_blank_kernel_picks_one(software):
    found = nearest(SAME_LEVEL, Wanted(chip="NVIDIA H100 SXM", dtype="bf16", **software))
    assert found.setup.constants["eta"] == pytest.approx(2.0)


def test_a_law_whose_constants_hold_the_host_keeps_to_the_engine():
    wanted = Wanted(chip="NVIDIA H100 SXM", stack="vLLM 0.9", dtype="bf16")
    found = nearest(SAME_LEVEL, wanted, same_engine=True)
    assert found.setup.chip == "NVIDIA A100 80GB SXM"


def test_on_its_own_chip_the_software_of_a_case_does_pick():
    known = (*KNOWN, setup("NVIDIA H100 SXM", stack="trtllm-1.2", eta=9.0))
    wanted = Wanted(chip="NVIDIA H100 SXM", stack="TensorRT-LLM 1.3", dtype="bf16")
    found = nearest(known, wanted)
    assert found.distance is Distance.OTHER_STACK
    assert found.setup.constants["eta"] == 9.0


@pytest.mark.parametrize(
    ("values", "blend"),
    [((2.0, 8.0), 4.0), ((0.0, 2.0, 8.0), 4.0), ((0.0, 0.0), 0.0), ((-1.0, 2.0), 0.5)],
)
def test_a_term_that_set_ups_lack_does_not_shrink_the_others(values, blend):
    some = [setup("x", eta=value) for value in values]
    for order in (some, some[::-1]):
        assert geometric_mean(order).constants["eta"] == pytest.approx(blend)


def test_a_constant_of_one_set_up_alone_survives_in_any_order():
    plain, more = setup("x"), setup("y")
    more = replace(more, constants={**more.constants, "switch": 3.0})
    for order in ((plain, more), (more, plain)):
        assert geometric_mean(order).constants["switch"] == pytest.approx(3.0)
