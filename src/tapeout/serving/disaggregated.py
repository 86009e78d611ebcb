"""Prefill and decode on pools of their own, the numbers of chips matched to the load.

A request costs chip-seconds in the prefill pool and chip-seconds in the decode pool; the smallest
of each over the placements is taken, so a large installation serves O / (sum) output tokens per
second and chip. Decode steps are never held up by a prompt, which is worth most under a tight
TPOT; the cache travels once over the scale-out network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.numerics import Floats
from tapeout.perf import Placement, StepCost, TimingModel, kv_per_chip_bytes, step_mix
from tapeout.perf.energy import static_w
from tapeout.serving.percentiles import slower_request, wait_at_percentile
from tapeout.serving.steady import Lengths
from tapeout.serving.types import Slo

LOADS = np.linspace(0.3, 0.95, 14)  # busy shares of the prefill pool that are tried


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """One side at its best operating point.

    `latency_s` is TTFT or TPOT at the objective's percentile; `sequences` per replica in the
    decode pool, busy share in the prefill pool.
    """

    placement: Placement
    chip_s_per_request: float
    joule_per_request: float
    latency_s: float
    mean_s: float
    sequences: float
    cost: StepCost
    at: int  # step of `cost`

    @property
    def requests_per_s(self) -> float:
        """Of one replica."""
        return self.placement.chips / self.chip_s_per_request


def prefill_pool(
    model: TimingModel, placement: Placement, lengths: Lengths, slo: Slo, token_budget: int
) -> Pool | None:
    """Highest load of a prefill replica that meets the TTFT limit; None when none does.

    Prompts shorter than the budget share a step. TTFT is the prompt's steps, the percentile of
    the wait (M/D/1), and the transfer of the cache.

    Raises
    ------
    MissingFieldError
        The chip has no peak rate.
    """
    chunk = min(lengths.new, float(token_budget))
    together = max(1.0, np.floor(token_budget / lengths.new))
    tokens = together * chunk * placement.data_parallel
    earlier = lengths.cached + (lengths.new - chunk) / 2.0
    mix = step_mix(prefill=tokens, cached=earlier, prompts=together * placement.data_parallel)
    cost = model.step_cost(placement, mix)
    step_s, chunks = float(cost.time_s[0]), lengths.new / chunk
    service_s = chunks * step_s
    wait_s = LOADS / (2.0 * (1.0 - LOADS)) * service_s
    ttft = service_s + _transfer_s(placement, lengths)
    level = ttft + wait_at_percentile(wait_s, LOADS, slo.percentile)
    met = np.flatnonzero(level <= slo.ttft_s)
    if met.size == 0:
        return None
    best = int(met[-1])
    load = float(LOADS[best])
    requests = tokens / lengths.new  # finished a step
    chips = placement.chips
    idle_s = step_s * (1.0 / load - 1.0)
    joule = float(cost.energy_j[0]) + idle_s * chips * static_w(placement.system.chip)
    return Pool(
        placement=placement,
        chip_s_per_request=step_s * chips / requests / load,
        joule_per_request=joule / requests,
        latency_s=float(level[best]),
        mean_s=ttft + float(wait_s[best]),
        sequences=load,
        cost=cost,
        at=0,
    )


def _transfer_s(placement: Placement, lengths: Lengths) -> float:
    """Time to send one prompt's cache from every chip of a replica over its own port."""
    moved = float(kv_per_chip_bytes(placement, lengths.input))
    return moved / placement.system.nic_bytes_per_s


def decode_pool(
    model: TimingModel, placement: Placement, lengths: Lengths, slo: Slo, batch: Floats
) -> Pool | None:
    """Largest of the batches whose TPOT meets the limit; None when not even the first does.

    Raises
    ------
    MissingFieldError
        The chip has no peak rate.
    """
    cost = model.step_cost(placement, step_mix(decode=batch, context=lengths.context))
    level = slower_request(cost.time_s, slo.percentile)
    met = np.flatnonzero(level <= slo.tpot_s)
    if met.size == 0:
        return None
    at = int(met[np.argmax((batch / cost.time_s)[met])])
    each_s = lengths.output * float(cost.time_s[at]) / float(batch[at])
    return Pool(
        placement=placement,
        chip_s_per_request=each_s * placement.chips,
        joule_per_request=float(cost.energy_j[at]) / float(batch[at]) * lengths.output,
        latency_s=float(level[at]),
        mean_s=float(cost.time_s[at]),
        sequences=float(batch[at]),
        cost=cost,
        at=at,
    )
