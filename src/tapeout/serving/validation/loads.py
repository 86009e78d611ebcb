"""Means of one replica under each kind of load.

Everything here counts output in steps; `predicting` turns steps into tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tapeout.numerics import Floats
from tapeout.perf import (
    Placement,
    TimingModel,
    kv_per_chip_bytes,
    max_sequences,
    step_mix,
)
from tapeout.perf.energy import static_w
from tapeout.serving.burst import ROUNDS, burst_closed_loop
from tapeout.serving.cases import ENGINE_BUDGET
from tapeout.serving.percentiles import tpot_at_percentile_s, ttft_at_percentile_s
from tapeout.serving.policies import Setting, recipe_policy
from tapeout.serving.steady import Lengths, SteadyState, steady_state
from tapeout.serving.types import Slo

GRID = 24  # batches tried, geometric
SEQUENCES_PER_GROUP = 1024  # default cap of vLLM on the sequences of an attention group
HOST_S = (
    0.1  # router, tokeniser and hand-over of a request between pools; benchmarks/valid_trials.csv
)
SPREAD_SHARE = (
    0.25  # window in which a round ends over its decode time; lengths of 0.8-1.0 have 0.22
)
MOST_STEPS = 2_000_000.0  # of a run that is taken step by step: about a second
SATURATED_LOAD = 1.0  # share of the token budget in use at which prompts pile up


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """Means of one replica, in steps.

    `power_w` is per chip, hosts apart; `sequences` decode. `note` says what a reader should know.
    `in_flight` is the mean number of requests in the replica where that is not the load itself.
    `beside` has what each engine of a closed loop says, where several were asked.
    """

    steps_per_s: float
    step_s: float
    ttft_s: float
    power_w: float
    sequences: float
    log_sd: float
    note: str = ""
    in_flight: float = math.nan
    mean_ttft_s: float = math.nan  # for Little's law, where `ttft_s` is a median
    beside: Mapping[str, Replica] = field(default_factory=dict)


def in_closed_loop(
    model: TimingModel, placement: Placement, lengths: Lengths, requests: float, spread: float
) -> Replica:
    """So many requests in flight, all sent at once at the start, as benchmarks do.

    By serving/burst.py; `loops.in_loop` chooses between this and others.

    Parameters
    ----------
    model, placement, lengths
    requests : float
        In flight in the replica.
    spread : float
        Half the range of lengths over their mean.
    """
    policy = recipe_policy(Setting(placement=placement, lengths=lengths, in_flight=requests))
    if is_long_loop(placement, lengths, requests):
        return _in_long_loop(model, placement, lengths, requests)
    found = burst_closed_loop(model, placement, lengths, spread, np.array([requests]), policy)
    rate = float(found.output_tokens_per_s_per_chip[0]) * placement.chips
    rate *= min(1.0, lengths.output / 2.0)  # the run generates two tokens a request at least
    return Replica(
        steps_per_s=rate,
        step_s=float(found.tpot_s[0]),
        ttft_s=float(found.ttft_s[0]),
        power_w=float(found.state.joule_per_output_token[0] * found.state.output_tokens_per_s[0])
        / placement.chips,  # of the loaded engine; the ends of a run are not measured
        sequences=float(found.decoding[0]),
        log_sd=found.state.cost.log_sd,
        mean_ttft_s=float(found.mean_ttft_s[0]),
    )


def is_long_loop(placement: Placement, lengths: Lengths, requests: float) -> bool:
    """Whether a loop has too many steps to be taken one by one."""
    policy = recipe_policy(Setting(placement=placement, lengths=lengths, in_flight=requests))
    return ROUNDS * requests * (1.0 + lengths.new / policy.token_budget) > MOST_STEPS


def _in_long_loop(
    model: TimingModel, placement: Placement, lengths: Lengths, requests: float
) -> Replica:
    """Closed loop of so many steps that its steady state is all of it; the rest waits.

    Time to the first token by Little's law over all requests in flight.
    """
    batch = min(requests, _sequences(placement, lengths))
    state = steady_state(model, placement, lengths, np.array([batch]), ENGINE_BUDGET)
    found = _of_state(placement, state, 0, "so long a run is timed by its steady state")
    each_s = requests * lengths.output / found.steps_per_s
    return replace(
        found, ttft_s=max(float(state.prefill_s[0]), each_s - lengths.output * found.step_s)
    )


def _sequences(placement: Placement, lengths: Lengths) -> float:
    """Most sequences that decode together: memory, and the engine's cap."""
    most = max_sequences(placement, lengths.context)
    return float(max(1, min(most, SEQUENCES_PER_GROUP * placement.data_parallel)))


def _grid_state(model: TimingModel, placement: Placement, lengths: Lengths) -> SteadyState:
    most = _sequences(placement, lengths)
    batch = np.unique(np.rint(np.geomspace(1.0, most, GRID)))
    return steady_state(model, placement, lengths, batch, ENGINE_BUDGET)


def _of_state(placement: Placement, state: SteadyState, at: int, note: str = "") -> Replica:
    rate = float(state.output_tokens_per_s[at])
    ttft = float(state.ttft_s[at])
    if not math.isfinite(ttft):
        ttft = float(state.prefill_s[at])
    return Replica(
        steps_per_s=rate,
        step_s=float(state.tpot_s[at]),
        ttft_s=ttft,
        power_w=float(state.joule_per_output_token[at]) * rate / placement.chips,
        sequences=float(state.sequences[at]),
        log_sd=state.cost.log_sd,
        note=note,
    )


def at_largest_batch(model: TimingModel, placement: Placement, lengths: Lengths) -> Replica:
    """Batch of the highest throughput among those that fit and whose prompts keep up."""
    state = _grid_state(model, placement, lengths)
    steady = state.load < SATURATED_LOAD
    steady[0] = True
    rates = np.where(steady, state.output_tokens_per_s, 0.0)
    at = int(np.argmax(rates))
    return _of_state(placement, state, at, f"{state.sequences[at]:g} sequences a replica")


def at_objective(model: TimingModel, placement: Placement, lengths: Lengths, slo: Slo) -> Replica:
    """Largest batch that meets the limits; one sequence, and a note, where none does."""
    state = _grid_state(model, placement, lengths)
    met = (
        (tpot_at_percentile_s(state, slo.percentile) <= slo.tpot_s)
        & (ttft_at_percentile_s(state, slo.percentile) <= slo.ttft_s)
        & (state.load < SATURATED_LOAD)
    )
    good = np.flatnonzero(met)
    if good.size == 0:
        return _of_state(placement, state, 0, "misses the limits even with one sequence")
    at = int(good[-1])
    return _of_state(placement, state, at, f"{state.sequences[at]:g} sequences a replica")


def in_open_loop(
    model: TimingModel, placement: Placement, lengths: Lengths, requests_per_s: float
) -> Replica:
    """Poisson arrivals; Little's law gives the sequences, a saturated replica runs full."""
    state = _grid_state(model, placement, lengths)
    served = np.where(
        state.load < SATURATED_LOAD, state.output_tokens_per_s / lengths.output, -np.inf
    )
    if requests_per_s >= served.max():
        at = int(np.argmax(served))
        return _of_state(placement, state, at, "arrivals exceed what the replica can serve")
    at = int(np.flatnonzero(served >= requests_per_s)[0])
    batch = 1.0
    if at > 0:
        low, high = served[at - 1], served[at]
        part = (requests_per_s - low) / (high - low)
        ends = state.sequences[at - 1 : at + 1]
        batch = float(ends[0] + part * (ends[1] - ends[0]))
    exact = steady_state(model, placement, lengths, np.array([batch]), ENGINE_BUDGET)
    full = _of_state(placement, exact, 0)
    share = min(1.0, requests_per_s * lengths.output / full.steps_per_s)
    idle = (1.0 - share) * static_w(placement.system.chip)
    return Replica(
        steps_per_s=requests_per_s * lengths.output,
        step_s=full.step_s,
        ttft_s=full.ttft_s,
        power_w=share * full.power_w + idle,
        sequences=batch * share,
        log_sd=full.log_sd,
    )


def in_static_batch(
    model: TimingModel, placement: Placement, lengths: Lengths, batch: float
) -> Replica:
    """Prefill a batch whole, then decode it to the end; what does not fit waits for its turn."""
    most = max(1, max_sequences(placement, lengths.input + lengths.output))
    turns = math.ceil(max(batch, 1.0) / most)
    together = max(batch, 1.0) / turns
    new = together * lengths.new
    steps = math.ceil(new / (ENGINE_BUDGET * placement.data_parallel))
    chunks = max(1.0, lengths.new / ENGINE_BUDGET)
    prompt = step_mix(
        prefill=new / steps,
        cached=lengths.cached + lengths.new * (1.0 - 1.0 / chunks) / 2.0,
        prompts=max(together / steps, 1.0 / chunks),
    )
    prefill = model.step_cost(placement, prompt)
    decode = model.step_cost(placement, step_mix(decode=together, context=lengths.context))
    prefill_s, step_s = steps * float(prefill.time_s[0]), float(decode.time_s[0])
    all_s = prefill_s + max(lengths.output - 1.0, 0.0) * step_s
    joule = steps * float(prefill.energy_j[0]) + lengths.output * float(decode.energy_j[0])
    return Replica(
        steps_per_s=together * lengths.output / all_s,
        step_s=step_s,
        ttft_s=prefill_s + (turns - 1) / 2.0 * all_s,
        power_w=min(joule / all_s / placement.chips, _limit_w(placement)),
        sequences=together,
        log_sd=decode.log_sd,
        note=f"{turns} batches one after another" if turns > 1 else "",
        in_flight=together * (turns + 1) / 2.0,  # those of later turns wait, those done are gone
    )


def _limit_w(placement: Placement) -> float:
    tdp = placement.system.chip.tdp_w
    return tdp if tdp > 0.0 else math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """Prefill and decode replicas with how many there are of each."""

    prefill: Placement
    prefill_workers: int
    decode: Placement
    decode_workers: int

    @property
    def chips(self) -> int:
        """Chips of both pools."""
        return self.prefill.chips * self.prefill_workers + self.decode.chips * self.decode_workers


def _prefill_step(
    model: TimingModel, placement: Placement, lengths: Lengths, together: float
) -> tuple[float, float]:
    """Time and energy of the steps of `together` prompts an attention group."""
    groups = placement.data_parallel
    chunk = min(lengths.new, float(ENGINE_BUDGET))
    earlier = lengths.cached + (lengths.new - chunk) / 2.0
    count = together * groups
    mix = step_mix(prefill=count * chunk, cached=earlier, prompts=count)
    cost = model.step_cost(placement, mix)
    chunks = lengths.new / chunk
    return chunks * float(cost.time_s[0]), chunks * float(cost.energy_j[0])


def in_pools(
    prompt_model: TimingModel,
    model: TimingModel,
    pools: Pools,
    lengths: Lengths,
    requests: float,
) -> Replica:
    """Closed loop over a prefill and a decode pool.

    Of N requests n decode and X = n / (O tpot(n)) leave a second; the others are in prefill,
    where they wait as in a queue with constant service, `N - n = X (S + W(X) + transfer)`. The
    left side falls and the right one rises with n, so there is one solution; a prefill pool that
    cannot keep up holds the rest of the requests.

    Parameters
    ----------
    prompt_model, model : TimingModel
        Of prompts and of decode steps.
    pools : Pools
    lengths : Lengths
        Output in steps.
    requests : float
        In flight over both pools.
    """
    alone_s, _ = _prefill_step(prompt_model, pools.prefill, lengths, 1.0)
    together = max(1.0, math.floor(ENGINE_BUDGET / lengths.new))
    full_s, full_j = _prefill_step(prompt_model, pools.prefill, lengths, together)
    prompts = together * pools.prefill.data_parallel
    capacity = pools.prefill_workers * prompts / full_s  # requests a second
    most = _sequences(pools.decode, lengths) * pools.decode_workers
    total = max(requests, 1.0)
    grid = np.geomspace(min(1e-2, total), min(total, most), 4 * GRID)
    batch = np.maximum(grid / pools.decode_workers, 1.0)
    cost = model.step_cost(pools.decode, step_mix(decode=batch, context=lengths.context))
    leaving = grid / (lengths.output * cost.time_s)
    first_s = HOST_S + alone_s + _transfer_s(pools, lengths) + cost.time_s
    # Requests sent together end nearly together and come back bunched: in their window prefill is
    # busier than over the whole run.
    round_s = total / capacity
    bunched = round_s / (round_s + SPREAD_SHARE * lengths.output * cost.time_s)
    busy = np.minimum(np.maximum(leaving / capacity, bunched), 1.0)
    with np.errstate(divide="ignore"):
        wait_s = np.where(busy < 1.0, busy / (2.0 * (1.0 - busy)) * full_s, np.inf)
    held = grid + leaving * (first_s + wait_s)
    at = int(np.clip(np.searchsorted(held, total), 1, grid.size - 1))
    n = _between(held, grid, at, total)
    step_s = float(np.interp(n, grid, cost.time_s))
    rate = n / (lengths.output * step_s)
    ttft = max((total - n) / rate, float(np.interp(n, grid, first_s)))
    energy = float(np.interp(n, grid, cost.energy_j))
    busy_w = rate * full_j / prompts + pools.decode_workers * energy / step_s
    idle = (1.0 - min(rate / capacity, 1.0)) * pools.prefill_workers * pools.prefill.chips
    power = (busy_w + idle * static_w(pools.prefill.system.chip)) / pools.chips
    return Replica(
        steps_per_s=rate * lengths.output,
        step_s=step_s,
        ttft_s=ttft,
        power_w=min(power, _limit_w(pools.decode)),
        sequences=n,
        log_sd=cost.log_sd,
        note="prefill pool saturated" if rate > 0.98 * capacity else "",
    )


def _between(held: Floats, grid: Floats, at: int, total: float) -> float:
    """Point of the grid at which `held` reaches the total, straight between two of its points."""
    low, high = held[at - 1], held[at]
    if total >= high:
        return float(grid[at])
    if not math.isfinite(high):
        return float(grid[at - 1])
    part = (total - low) / max(high - low, 1e-30)
    return float(grid[at - 1] + np.clip(part, 0.0, 1.0) * (grid[at] - grid[at - 1]))


def _transfer_s(pools: Pools, lengths: Lengths) -> float:
    """Time to send one prompt's cache over the ports of a prefill replica."""
    moved = float(kv_per_chip_bytes(pools.prefill, lengths.input))
    return moved / pools.prefill.system.nic_bytes_per_s
