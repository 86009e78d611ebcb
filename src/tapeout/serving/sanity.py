"""Laws that figures of serving must obey, on figures a user pastes and on our own output.

Each check gives the figure, its limit, and a sentence. A check whose inputs are not there is left
out. Tolerances are those of the reference (timing, section 7): Little's law within 20 %, bounds
by physics with a few per cent for rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from tapeout.catalog import check_peaks, load
from tapeout.constants import GIGA, MICRO, TERA
from tapeout.fabric import System
from tapeout.perf import step_mix
from tapeout.perf.peaks import peak_flop_per_s
from tapeout.workload import ModelArchitecture, TensorFormats, operators

if TYPE_CHECKING:
    from tapeout.serving.validation.inputs import ServingCase
    from tapeout.serving.validation.predicting import ServingPrediction

LITTLE_TOLERANCE = 0.2
BOUND_TOLERANCE = 0.03  # a bound may be missed by the rounding of published figures
POWER_TOLERANCE = 0.05
PEAK_TOLERANCE = 0.05
TOTAL_TOLERANCE = 0.15
SPARSE = 2.0  # structured sparsity doubles the figure on a data sheet
NAN = math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What is known of a run; nan or None where unknown. Rates and power are per chip.

    `concurrency` counts requests in flight over all chips, `tokens_per_step` is the most tokens a
    sequence can gain in a step (drafts + 1), `stated_peak_flop_per_s` a peak as pasted.
    """

    system: System | None = None
    architecture: ModelArchitecture | None = None
    formats: TensorFormats | None = None
    chips: float = NAN
    concurrency: float = NAN
    new_tokens: float = NAN
    cached_tokens: float = 0.0
    output_tokens: float = NAN
    ttft_s: float = NAN
    tpot_s: float = NAN
    output_tokens_per_s_per_chip: float = NAN
    total_tokens_per_s_per_chip: float = NAN
    power_w_per_chip: float = NAN
    joule_per_output_token: float = NAN
    replica_chips: float = NAN
    tokens_per_step: float = 1.0
    stated_peak_flop_per_s: float = NAN
    stated_peak_dtype: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: the figure, what it is held against, and what that means."""

    name: str
    figure: float
    limit: float
    unit: str
    fires: bool
    sentence: str


def check(figures: Figures) -> list[Finding]:
    """Run every check that the figures allow."""
    found = (
        _little(figures),
        _weight_floor(figures),
        _rate_limit(figures),
        _power(figures),
        _chips(figures),
        _total(figures),
        _stated_peak(figures),
    )
    return [one for one in found if one is not None] + list(_derived_peaks(figures))


def _known(*values: float) -> bool:
    return all(math.isfinite(value) for value in values)


def _latency_s(figures: Figures) -> float:
    """Mean time of a request in the system: the first token and a gap for each other one."""
    return figures.ttft_s + max(figures.output_tokens - 1.0, 0.0) * figures.tpot_s


def _little(figures: Figures) -> Finding | None:
    """Requests in flight = request rate x time in the system."""
    rate = figures.output_tokens_per_s_per_chip * figures.chips / figures.output_tokens
    inside = rate * _latency_s(figures)
    if not _known(inside, figures.concurrency):
        return None
    off = inside / figures.concurrency - 1.0
    fires = not -LITTLE_TOLERANCE <= off <= LITTLE_TOLERANCE
    verdict = (
        "so rate, latency, lengths, concurrency or the number of chips is wrong"
        if fires
        else "as Little's law asks within 20 %"
    )
    return Finding(
        name="Little's law",
        figure=inside,
        limit=figures.concurrency,
        unit="requests in flight",
        fires=fires,
        sentence=f"rate x latency gives {inside:,.4g} requests in flight, {off:+.0%} from the "
        f"{figures.concurrency:,.4g} stated, {verdict}",
    )


def _weights_read_bytes(figures: Figures, sequences: float) -> float:
    """Weights that one decode step reads, experts as expected for so many rows. [B]."""
    if figures.architecture is None or figures.formats is None:
        return NAN
    mix = step_mix(decode=max(sequences, 1.0), context=1.0)
    return float(operators(figures.architecture, mix, figures.formats).weight_bytes.sum())


def _weight_floor(figures: Figures) -> Finding | None:
    """A decode step reads its weights once: TPOT >= bytes / (chips x bandwidth).

    Replicas read their weights in parallel, so all chips and all sequences together give a bound
    that holds whatever the placement.
    """
    if figures.system is None or not _known(figures.tpot_s, figures.chips):
        return None
    decoding = figures.output_tokens_per_s_per_chip * figures.chips * figures.tpot_s
    known = [value for value in (decoding, figures.concurrency) if math.isfinite(value)]
    sequences = min(known) / figures.tokens_per_step if known else 1.0
    read = _weights_read_bytes(figures, sequences)
    if not _known(read):
        return None
    rate = figures.chips * figures.system.chip.memory_bytes_per_s
    floor = read / rate / figures.tokens_per_step
    fires = figures.tpot_s < floor * (1.0 - BOUND_TOLERANCE)
    verdict = "is faster than that: impossible" if fires else "is above it"
    return Finding(
        name="weight-read floor",
        figure=figures.tpot_s,
        limit=floor,
        unit="s",
        fires=fires,
        sentence=f"reading {read / GIGA:,.1f} GB of weights at "
        f"{rate / TERA:,.2f} TB/s takes {floor / MICRO:,.0f} us a token; "
        f"{figures.tpot_s / MICRO:,.0f} us {verdict}",
    )


def _token_s(figures: Figures, *, peak_factor: float = 1.0) -> float:
    """Least time of one chip for a token at its peak rates, all FLOP of the model. [s]."""
    if figures.architecture is None or figures.formats is None or figures.system is None:
        return NAN
    table = operators(figures.architecture, step_mix(decode=1.0, context=1.0), figures.formats)
    chip = figures.system.chip
    rates = np.array([peak_flop_per_s(chip, dtype) for dtype in table.dtype]) * peak_factor
    return float((table.flop[:, 0] / rates).sum())


def _rate_limit(figures: Figures) -> Finding | None:
    """Tokens computed a second <= peak / FLOP per token."""
    output = figures.output_tokens_per_s_per_chip
    limit = 1.0 / _token_s(figures)
    if not _known(output, limit):
        return None
    rate = output
    if _known(figures.new_tokens, figures.output_tokens):
        rate = output * (1.0 + figures.new_tokens / figures.output_tokens)
    over = rate / limit
    fires = over > 1.0 + BOUND_TOLERANCE
    verdict = f"{over:.0%} of the dense peak"
    if fires and over <= SPARSE * (1.0 + BOUND_TOLERANCE):
        verdict += ": a sparse peak, a narrower number format or a wrong number of chips"
    elif fires:
        verdict += ": more than even a sparse peak allows"
    return Finding(
        name="arithmetic limit",
        figure=rate,
        limit=limit,
        unit="tokens/s per chip",
        fires=fires,
        sentence=f"{rate:,.0f} tokens/s per chip computed (input and output), {verdict}",
    )


def _power(figures: Figures) -> Finding | None:
    """Joules a token x rate = power."""
    power = figures.joule_per_output_token * figures.output_tokens_per_s_per_chip
    if not _known(power, figures.power_w_per_chip):
        return None
    off = power / figures.power_w_per_chip - 1.0
    fires = abs(off) > POWER_TOLERANCE
    verdict = "the scopes differ or a figure is wrong" if fires else "they agree"
    return Finding(
        name="energy x rate",
        figure=power,
        limit=figures.power_w_per_chip,
        unit="W",
        fires=fires,
        sentence=f"joules a token x rate gives {power:,.0f} W, {off:+.0%} from the "
        f"{figures.power_w_per_chip:,.0f} W stated; {verdict}",
    )


def _chips(figures: Figures) -> Finding | None:
    """Chips = tensor x pipeline x data parallel, times whole replicas."""
    if not _known(figures.chips, figures.replica_chips):
        return None
    replicas = figures.chips / figures.replica_chips
    fires = replicas < 1.0 or replicas != math.floor(replicas)
    verdict = f"{replicas:g} replicas" + (": no whole number" if fires else "")
    return Finding(
        name="chips",
        figure=figures.chips,
        limit=figures.replica_chips,
        unit="chips",
        fires=fires,
        sentence=f"{figures.chips:g} chips, {figures.replica_chips:g} a replica by the "
        f"parallelism: {verdict}",
    )


def _total(figures: Figures) -> Finding | None:
    """Input and output rates have the ratio of the lengths, cached input apart."""
    output, total = figures.output_tokens_per_s_per_chip, figures.total_tokens_per_s_per_chip
    tokens = figures.new_tokens + figures.cached_tokens
    wanted = output * (1.0 + tokens / figures.output_tokens)
    if not _known(total, wanted) or figures.cached_tokens > 0.0:
        return None
    off = total / wanted - 1.0
    fires = abs(off) > TOTAL_TOLERANCE
    verdict = "input counted as output, or the reverse" if fires else "they agree"
    return Finding(
        name="total rate",
        figure=total,
        limit=wanted,
        unit="tokens/s per chip",
        fires=fires,
        sentence=f"the lengths and the output rate give {wanted:,.0f} tokens/s per chip of both "
        f"kinds, stated are {total:,.0f} ({off:+.0%}): {verdict}",
    )


def _stated_peak(figures: Figures) -> Finding | None:
    """A pasted peak against the dense one of the catalogue."""
    if figures.system is None or not _known(figures.stated_peak_flop_per_s):
        return None
    dtype = figures.stated_peak_dtype or "bf16"
    dense = peak_flop_per_s(figures.system.chip, dtype)
    ratio = figures.stated_peak_flop_per_s / dense
    fires = abs(ratio - 1.0) > PEAK_TOLERANCE
    verdict = "the dense rate"
    if fires:
        verdict = "neither the dense nor the sparse rate"
        for factor, words in ((SPARSE, "twice the dense rate: sparse"), (1 / SPARSE, "half of it")):
            if abs(ratio / factor - 1.0) <= PEAK_TOLERANCE:
                verdict = words
    return Finding(
        name="dense or sparse",
        figure=figures.stated_peak_flop_per_s,
        limit=dense,
        unit="FLOP/s",
        fires=fires,
        sentence=f"{figures.stated_peak_flop_per_s / TERA:,.0f} TFLOP/s {dtype} against "
        f"{dense / TERA:,.0f} dense in the catalogue: {verdict}",
    )


@cache
def _peak_checks() -> dict[str, list[tuple[str, float, float, str]]]:
    found: dict[str, list[tuple[str, float, float, str]]] = {}
    for one in check_peaks(load()):
        line = (one.dtype, one.stated_flop_per_s, one.derived_flop_per_s, one.basis)
        found.setdefault(one.chip, []).append(line)
    return found


def _derived_peaks(figures: Figures) -> Iterator[Finding]:
    """Peak = units x clock x FLOP a cycle, where the catalogue has them."""
    if figures.system is None:
        return
    for dtype, stated, derived, basis in _peak_checks().get(figures.system.chip.name, ()):
        off = derived / stated - 1.0
        fires = abs(off) > PEAK_TOLERANCE
        verdict = "they disagree: another clock or a sparse rate" if fires else "they agree"
        yield Finding(
            name=f"peak {dtype} from its parts",
            figure=stated,
            limit=derived,
            unit="FLOP/s",
            fires=fires,
            sentence=f"units x clock x FLOP a cycle ({basis}) gives {derived / TERA:,.0f} TFLOP/s, "
            f"stated are {stated / TERA:,.0f} ({off:+.1%}): {verdict}",
        )


def case_figures(case: ServingCase) -> Figures:
    """Inputs of a row as figures; what was measured or predicted is added by the caller."""
    plan = case.plan
    pools = plan is not None and plan.prefill is not None
    return Figures(
        system=case.system,
        architecture=case.architecture,
        formats=case.formats,
        chips=float(case.chips) if case.chips else NAN,
        concurrency=case.load.value if case.load.kind in ("closed loop", "static batch") else NAN,
        new_tokens=case.lengths.new,
        cached_tokens=case.lengths.cached,
        output_tokens=case.lengths.output,
        replica_chips=NAN if plan is None or pools else float(plan.main.chips_per_worker),
        tokens_per_step=1.0 + (case.speculation.drafts if case.speculation else 0),
    )


def _prediction_figures(prediction: ServingPrediction, case: ServingCase) -> Figures:
    return Figures(
        system=case.system,
        architecture=case.architecture,
        formats=case.formats,
        chips=float(prediction.chips),
        concurrency=prediction.requests,
        new_tokens=case.lengths.new,
        cached_tokens=case.lengths.cached,
        output_tokens=case.lengths.output,
        ttft_s=prediction.mean_ttft_s,
        tpot_s=prediction.tpot_s,
        output_tokens_per_s_per_chip=prediction.output_tokens_per_s_per_chip,
        total_tokens_per_s_per_chip=prediction.total_tokens_per_s_per_chip,
        power_w_per_chip=prediction.power_w_per_chip,
        tokens_per_step=1.0 + (case.speculation.drafts if case.speculation else 0),
    )


def physical_bounds(prediction: ServingPrediction, case: ServingCase) -> list[Finding]:
    """Return the two bounds by bandwidth and by arithmetic of a prediction of ours."""
    figures = _prediction_figures(prediction, case)
    found = (_weight_floor(figures), _rate_limit(figures))
    return [one for one in found if one is not None]


def check_prediction(prediction: ServingPrediction, case: ServingCase | None) -> list[Finding]:
    """Check our own output; peaks are those of the catalogue and are not checked again."""
    if case is None:
        return []
    figures = _prediction_figures(prediction, case)
    checks = (_little, _weight_floor, _rate_limit, _total)
    found = [one for one in (law(figures) for law in checks) if one is not None]
    limit = _power_limit(prediction, case)
    return [*found, limit] if limit else found


def _power_limit(prediction: ServingPrediction, case: ServingCase) -> Finding | None:
    """Mean power is not above the rated one (with the host's share at the wall)."""
    rated = case.system.chip.tdp_w
    if rated <= 0.0:
        return None
    limit = rated + (case.system.host_w if case.wall_power else 0.0)
    power = prediction.power_w_per_chip
    fires = power > limit * (1.0 + BOUND_TOLERANCE)
    return Finding(
        name="rated power",
        figure=power,
        limit=limit,
        unit="W",
        fires=fires,
        sentence=f"{power:,.0f} W a chip, {'above' if fires else 'within'} the {limit:,.0f} W "
        "it is rated for",
    )
