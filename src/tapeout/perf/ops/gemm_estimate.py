"""Time of a gemm or grouped_gemm case: the law, its nearest constants, the surface, the band."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import resources

import numpy as np

from tapeout.chip.spec import UNMEASURED_LOG_SD
from tapeout.chip.types import ChipSpec
from tapeout.constants import MIB, MICRO
from tapeout.errors import InfeasibleError
from tapeout.perf.ops import store
from tapeout.perf.ops.cases import Estimate, OpCase
from tapeout.perf.ops.gemm import (
    Experts,
    GemmConstants,
    GemmRates,
    expected_active,
    expert_ffn_s,
    gemm_s,
    grouped_s,
)
from tapeout.perf.ops.gemm_rates import COPIES, EXPERT_LAYER, formats_of, rates_for
from tapeout.perf.ops.residual import key_of, load_surfaces
from tapeout.perf.ops.stacks import same_stack
from tapeout.perf.ops.store import Distance, Match, Setup, Wanted

NAME = "gemm"
MODE_LOG_SD = 0.5  # assumption: a launch of 50-170 us that a graph would save is inside
BORROWED_LOG_SD = {"wide": 0.24, "narrow": 0.57}
"""80 % quantile over the normal one of errors with one chip left out, fit part (3,560 rows of
16 bit, 4,200 narrower; benchmarks/ops_store_trials.csv): kernels of narrow formats differ more."""
BAND_EDGES_S = (5e-6, 2e-5, 1e-4, 1e-3)  # of predicted time, between the widths of the band
EAGER_S = {
    # what LLMCompass (ISCA 2024, artefact) adds to its kernels for PyTorch eager matmul
    "NVIDIA": 21.0 * MICRO,
    "AMD": 34.0 * MICRO,
}
EAGER_LOG_SD = 0.3  # of a launch by the host: it depends on the host
SAME = {"fp16": "bf16"}  # runs at the same rates: no assumption
ALIKE = {
    # formats nobody measured, and the measured one whose constants they take
    "int8": "fp8",
    "mxfp8": "fp8",
    "fp6": "fp8",
    "mxfp4": "nvfp4",
    "int4": "nvfp4",
    "fp32": "bf16",
    "tf32": "bf16",
}
DEQUANTISE = 1.1  # time of a weight-only product over the same bytes at the activations' format
DEQUANTISE_LOG_SD = 0.1
IMBALANCE_LOG_SD = 0.1  # rows are not spread evenly over experts
SMALL_BATCH = 32.0  # rows below which a stack takes its kernel for small batches
SMALL_BATCH_KERNEL = {("vllm-0.24.0", "fp8_block"): "FlashInferFp8BlockScaledMMKernel"}
LARGE_BATCH_KERNEL = {("vllm-0.24.0", "fp8_block"): "DeepGemmFp8BlockScaledMMKernel"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """Constants that speak for a case, and what is known of their error."""

    constants: GemmConstants
    match: Match
    surface: str  # key, empty for none
    bands: tuple[float, ...]


@cache
def _extras() -> dict[tuple[str, ...], Mapping[str, list[float]]]:
    """Widths of the bands of each set-up, kept beside what `store` reads."""
    text = resources.files("tapeout.perf").joinpath(f"data/ops/{NAME}.json").read_text("utf-8")
    return {
        (one["chip"], one["stack"], one["dtype"], one["kernel"]): {
            name: one[name] for name in ("band_log_sd", "law_band_log_sd")
        }
        for one in json.loads(text)["setups"]
    }


def law_for(
    case: OpCase, chip: ChipSpec, dtype: str, *, without: str = "", with_surface: bool = True
) -> Law:
    """Constants for a case; `without` leaves a chip out of those to choose from.

    An expert layer takes its own set-up where the chip has one, else that of single products.
    """
    setups = store.load_setups(NAME)
    expert = [
        one for one in setups if one.kernel == EXPERT_LAYER and one.chip == chip.name != without
    ]
    grouped = case.op == "grouped_gemm"
    known = expert if grouped and expert else [one for one in setups if one.kernel != EXPERT_LAYER]
    own = [one for one in known if one.chip == chip.name != without]
    kernel = _kernel(case, dtype, own) if own and not grouped else ""
    wanted = Wanted(chip=chip.name, stack=case.stack, dtype=dtype, kernel=kernel, mode="")
    match = store.nearest(known, wanted, without=without)
    if match.distance > Distance.FAMILY:  # no two measured chips are of one family
        match = replace(match, log_sd=_borrowed_log_sd(dtype))
    if match.distance is not Distance.EXACT or match.setup not in setups:
        return Law(constants=constants_of(match.setup), match=match, surface="", bands=())
    setup = match.setup
    key = key_of(setup.chip, setup.stack, setup.dtype, setup.kernel)
    smooth = with_surface and not grouped and key in load_surfaces(NAME)
    widths = _extras()[setup.chip, setup.stack, setup.dtype, setup.kernel]
    name = "band_log_sd" if smooth else "law_band_log_sd"
    return Law(
        constants=constants_of(setup),
        match=match,
        surface=key if smooth else "",
        bands=tuple(widths[name]),
    )


def constants_of(setup: Setup) -> GemmConstants:
    """Constants of the law out of a stored set-up."""
    names = [field.name for field in fields(GemmConstants)]
    return GemmConstants(**{name: setup.constants[name] for name in names})


def _borrowed_log_sd(dtype: str) -> float:
    """Error of constants of other chips, by how wide the format is."""
    return BORROWED_LOG_SD["wide" if dtype in ("bf16", "fp16", "fp32", "tf32") else "narrow"]


def _kernel(case: OpCase, dtype: str, own: Sequence[Setup]) -> str:
    """Kernel of a case; where blank, the one the chip's stack takes at this number of rows."""
    if case.kernel:
        known = {one.kernel.lower() for one in store.load_setups(NAME)}
        return case.kernel if case.kernel in known else ""
    table = SMALL_BATCH_KERNEL if case.m < SMALL_BATCH else LARGE_BATCH_KERNEL
    for one in own:
        kernel = table.get((one.stack, one.dtype), "")
        if one.dtype == dtype and (not case.stack or same_stack(one.stack, case.stack)):
            return kernel
    return ""


def estimate(
    case: OpCase, chip: ChipSpec, *, without: str = "", with_surface: bool = True
) -> Estimate:
    """Time of a gemm or grouped_gemm case on a chip.

    Parameters
    ----------
    case : OpCase
        Needs m, n and k; other blanks take defaults, listed in the answer.
    chip : ChipSpec
        Any chip; constants are those of the nearest measured set-up.
    without : str
        Chip whose own constants are not used, to see how far those of others carry.
    with_surface : bool
        False: the law alone.

    Raises
    ------
    InfeasibleError
        A size is missing, or the operation is another one.
    """
    if case.op not in {"gemm", "grouped_gemm"}:
        raise InfeasibleError(f"{case.op} is no matrix product")
    case.needs("m", "n", "k")
    act, weight, assumed = formats_of(case)
    law, dtype = _law(case, chip, act, without=without, with_surface=with_surface)
    if dtype not in {act, SAME.get(act)}:
        assumed.append(f"constants of {dtype} for {act}")
    if law.match.assumption:
        assumed.append(law.match.assumption)
    rates = rates_for(chip, act, weight, _copies(case, law, assumed))
    assumed += _chip_blanks(chip, rates)
    # a chip whose bandwidth or peak is itself filled in is less sure than one nobody measured
    blanks = max(chip.own_log_sd**2 - UNMEASURED_LOG_SD**2, 0.0)
    variance = [law.match.log_sd**2, blanks]
    time_s = _time_s(case, rates, law.constants, assumed, variance)
    if law.surface:
        time_s *= _surface_factor(case, law.surface)
    if law.bands:
        variance[0] = law.bands[int(np.searchsorted(BAND_EDGES_S, time_s))] ** 2
    if rates.weight_bytes < rates.activation_bytes and weight != act:
        time_s *= DEQUANTISE
        variance.append(DEQUANTISE_LOG_SD**2)
        assumed.append(f"weights of {weight} unpacked to {act}: time x {DEQUANTISE:g}")
    if case.mode == "graph" and law.match.setup.mode == "eager":
        assumed.append("timed without a graph only: the launch by the host is inside")
        variance.append(MODE_LOG_SD**2)
    extra_s = _eager_s(case, chip, law.match.setup, assumed)
    variance.append((EAGER_LOG_SD * extra_s / (time_s + extra_s)) ** 2)
    setup = law.match.setup
    words = f"gemm law {setup.stack} {setup.dtype} {setup.kernel} {setup.fitted}".replace("  ", " ")
    return Estimate(
        time_s=time_s + extra_s,
        log_sd=math.sqrt(math.fsum(variance)),
        model=words + (" + surface" if law.surface else ""),
        assumptions=tuple(assumed),
    )


def _chip_blanks(chip: ChipSpec, rates: GemmRates) -> list[str]:
    """Defaults taken for what the chip does not state."""
    found = []
    if chip.cores <= 0:
        found.append(f"cores = {rates.cores:g}: as many as give each the rate of an H100 core")
    if chip.l2_bytes <= 0.0:
        found.append(
            f"last cache = {rates.l2_bytes / MIB:.4g} MiB: on-chip memory, or 17 us of bandwidth"
        )
    return found


def _law(
    case: OpCase, chip: ChipSpec, act: str, *, without: str, with_surface: bool
) -> tuple[Law, str]:
    """Constants, and the format they were measured in."""
    measured = {one.dtype for one in store.load_setups(NAME)}
    dtype = SAME.get(act, act)
    if dtype not in measured:
        dtype = ALIKE.get(dtype, "bf16")
    return law_for(case, chip, dtype, without=without, with_surface=with_surface), dtype


def _copies(case: OpCase, law: Law, assumed: list[str]) -> float:
    """How many weights pass between two uses of one: as measured, else never again (served)."""
    if case.weights == "hot":
        return 1.0
    if not case.weights:
        assumed.append("weights = cold")
    exact = law.match.distance is Distance.EXACT
    return COPIES.get(law.match.setup.stack, math.inf) if exact else math.inf


def _time_s(
    case: OpCase,
    rates: GemmRates,
    constants: GemmConstants,
    assumed: list[str],
    variance: list[float],
) -> float:
    m, n, k = (np.array([size]) for size in (case.m, case.n, case.k))
    if case.op == "gemm":
        return float(gemm_s(m, n, k, rates, constants)[0])
    topk = np.array([case.given("topk", 1.0)])
    if math.isnan(case.topk):
        assumed.append("topk = 1")
    hit = np.array([case.active_experts])
    if math.isnan(case.active_experts):
        if math.isnan(case.experts):
            raise InfeasibleError("grouped_gemm needs experts or active_experts")
        hit = expected_active(m, np.array([case.experts]), topk)
        assumed.append(f"active_experts = {hit[0]:.4g}: uniform routing")
        variance.append(IMBALANCE_LOG_SD**2)
    experts = Experts(active=np.maximum(hit, 1.0), topk=topk)
    law = expert_ffn_s if case.kernel == EXPERT_LAYER else grouped_s
    return float(law(m, n, k, experts, rates, constants)[0])


def _surface_factor(case: OpCase, key: str) -> float:
    surface = load_surfaces(NAME)[key]
    shape = (np.array([size]) for size in (case.m, case.n, case.k))
    return math.exp(float(surface.log_factor(*shape)[0]))


def _eager_s(case: OpCase, chip: ChipSpec, setup: Setup, assumed: list[str]) -> float:
    """Launch by the host, where the case has it and the constants do not."""
    eager = case.mode == "eager" or (not case.mode and case.stack.endswith("eager"))
    if not eager or setup.mode == "eager":
        return 0.0
    added = EAGER_S.get(store.vendor(chip.name), EAGER_S["NVIDIA"])
    assumed.append(f"launched by the host: + {added / MICRO:g} us")
    return added
