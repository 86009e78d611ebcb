"""Closed loops of benchmarks through the serving simulator, one run for each load.

As serving/burst.py: N requests in flight, all sent at once at first, 10 N in all, lengths spread
evenly. What is new are cache blocks with preemption, ranks that get requests one by one, and the
rules of the scheduler as docs/simulate.md has them. What a recipe says of waiting for company and
of looking at the queue seldom has no rule there and is left out.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from math import ceil

import numpy as np

from tapeout.errors import DoesNotFitError
from tapeout.numerics import Floats, Ints
from tapeout.perf import Placement, TimingModel, max_sequences
from tapeout.serving.burst import EnginePolicy, Requests, loop_points, loop_requests
from tapeout.serving.cases import Prediction, closed_loop
from tapeout.serving.engine.capacity import kv_capacity
from tapeout.serving.engine.job import Job, prepare
from tapeout.serving.engine.run import run_engine
from tapeout.serving.engine.tables import step_table
from tapeout.serving.engine.types import (
    PS_PER_S,
    Allocation,
    Order,
    Rules,
    Simulation,
    StepTable,
)
from tapeout.serving.steady import Lengths, steady_state
from tapeout.serving.traffic.trace import Trace

BLOCK_TOKENS = 16
KEPT_TABLES = 64  # about 2 MB each
SEQUENCES = (256, 1024)  # sizes of tables, so that rows of a curve share one
BUDGET = 16_384  # larger budgets are cut to what the requests could fill


class LoopEngine(StrEnum):
    """What predicts a closed loop."""

    MIXTURE = "mixture"  # steady state, Little's law
    BURST = "burst"  # serving/burst.py
    SIMULATE = "simulate"  # this module


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedLoop(Prediction):
    """What a benchmark prints of its runs; arrays have shape (point,).

    `tpot_s` and `ttft_s` are medians over all requests, `output_tokens_per_s_per_chip` is over the
    whole run, `decoding` the mean number of running sequences, `state` the steady state with so
    many.
    """

    mean_ttft_s: Floats
    in_flight: Floats  # mean over the run
    preemptions: Floats  # a request


@dataclass(frozen=True, slots=True)
class TableCache:
    """The step tables made last, by timing model, placement and limits."""

    kept: OrderedDict[tuple[int | str, ...], tuple[TimingModel, StepTable]] = field(
        default_factory=OrderedDict
    )

    def table(
        self, model: TimingModel, placement: Placement, rules: Rules, longest: int
    ) -> StepTable:
        """Table for these limits, made if it is not there.

        Parameters
        ----------
        model : TimingModel
            The object itself is the key: models with other constants may have one name.
        placement : Placement
        rules : Rules
        longest : int
            Tokens of the longest request.
        """
        limits = (rules.token_budget, rules.max_sequences, longest)
        key = (id(model), repr(placement), *limits)
        if key in self.kept:
            self.kept.move_to_end(key)
            return self.kept[key][1]
        found = step_table(
            model,
            placement,
            token_budget=rules.token_budget,
            max_sequences=rules.max_sequences,
            longest_context=longest,
        )
        self.kept[key] = model, found  # held, so that no other model gets its id
        if len(self.kept) > KEPT_TABLES:
            self.kept.popitem(last=False)
        return found


def simulated_closed_loop(
    model: TimingModel,
    placement: Placement,
    lengths: Lengths,
    spread: float,
    concurrency: Floats,
    policy: EnginePolicy | Sequence[EnginePolicy],
) -> SimulatedLoop:
    """Simulate closed-loop runs with a burst start, one for each number of requests in flight.

    Parameters
    ----------
    model : TimingModel
    placement : Placement
        One replica.
    lengths : Lengths
        Means; an output has two tokens at least. Cached tokens come with the request and take
        blocks of their own.
    spread : float
        Lengths are uniform in mean x (1 -+ spread).
    concurrency : array, shape (point,)
        Requests in flight over the replica.
    policy : EnginePolicy, or one for each point
        See `rules_of`.

    Raises
    ------
    InfeasibleError
        A spread outside 0 to 1, or another number of policies than points.
    MissingFieldError
        As the timing model.
    """
    counts, policies = loop_points(spread, concurrency, policy)
    loop = _Loop(model=model, placement=placement, lengths=lengths, tables=_tables())
    mixture = closed_loop(model, placement, lengths, np.array(counts, dtype=float))
    runs = [
        loop.run(loop_requests(lengths, spread, count), rule, float(step_s))
        for count, rule, step_s in zip(counts, policies, mixture.tpot_s, strict=True)
    ]
    return _prediction(model, placement, lengths, runs)


def rules_of(policy: EnginePolicy, *, kv_blocks: int, ranks: int) -> Rules:
    """Rules of the simulator for an engine of the end-to-end table.

    Parameters
    ----------
    policy : EnginePolicy
        Prompts alone (SGLang): `PREFILL_ALONE` with chunks, blocks of the prompt at admission: an
        approximation, as SGLang keeps room for a share of the output too. Whole prompts
        (TensorRT-LLM): blocks for the longest output at admission, nobody is preempted. Others: as
        vLLM V1. All schedule one step ahead. Not taken over: `polled_steps`, `balance_steps`,
        `wait_steps`, which no rule has.
    kv_blocks : int
        Of a rank.
    ranks : int
        Data-parallel ranks.
    """
    order, allocation = Order.LIST, Allocation.LAZY
    if policy.prefill_alone:
        order, allocation = Order.PREFILL_ALONE, Allocation.PROMPT
    elif not policy.chunked:
        allocation = Allocation.WHOLE
    return Rules(
        token_budget=policy.token_budget,
        max_sequences=policy.max_sequences,
        kv_blocks=kv_blocks,
        block_tokens=BLOCK_TOKENS,
        order=order,
        allocation=allocation,
        chunked=policy.chunked,
        prefix_cache=False,  # lengths alone say nothing of what prompts share
        ranks=ranks,
    )


@cache
def _tables() -> TableCache:
    """Tables of this process; rows of one curve share them."""
    return TableCache()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loop:
    """One replica and what it is asked for."""

    model: TimingModel
    placement: Placement
    lengths: Lengths
    tables: TableCache

    def run(self, requests: Requests, policy: EnginePolicy, step_s: float) -> Simulation:
        """Run all requests; `step_s` is a usual decode step."""
        trace = self._trace(requests)
        longest = int((trace.input_tokens + trace.output_tokens).max())
        sized = _sized(policy, requests, int(trace.input_tokens.max()))
        blocks = max(self._blocks(sized, longest), ceil(longest / BLOCK_TOKENS))
        rules = rules_of(sized, kv_blocks=blocks, ranks=self.placement.data_parallel)
        loaded = trace.input_tokens.astype(np.int64) - requests.new
        job = prepare(trace, rules, loaded=loaded, in_flight=requests.in_flight)
        table = self.tables.table(self.model, self.placement, rules, _rounded(longest))
        return run_engine(_hosted(job, requests, policy, step_s), rules, table)

    def _trace(self, requests: Requests) -> Trace:
        return Trace(
            arrival_s=np.zeros(requests.new.size),
            input_tokens=requests.new + round(self.lengths.cached),
            output_tokens=requests.out,
            source="closed loop with lengths spread evenly",
        )

    def _blocks(self, policy: EnginePolicy, longest: int) -> int:
        """Blocks of a rank; where our map has no room, those of the sequences that ran."""
        memory = replace(self.placement.memory, token_budget=policy.token_budget)
        placement = replace(self.placement, memory=memory)
        limits = (policy.max_sequences, longest)
        try:
            return kv_capacity(
                placement,
                max_sequences=limits[0],
                longest_context=limits[1],
                block_tokens=BLOCK_TOKENS,
            ).blocks
        except DoesNotFitError:
            most = max_sequences(self.placement, self.lengths.context)
            each = ceil(self.lengths.context / BLOCK_TOKENS)
            return max(1, most // self.placement.data_parallel) * each


def _sized(policy: EnginePolicy, requests: Requests, longest_prompt: int) -> EnginePolicy:
    """Limits no larger than the requests could use, in sizes that rows of a curve share."""
    count = min(requests.in_flight, policy.max_sequences)
    sequences = next((size for size in SEQUENCES if size >= count), policy.max_sequences)
    budget = policy.token_budget
    if budget > BUDGET:
        budget = min(budget, max(BUDGET, _rounded(count * longest_prompt)))
    if not policy.chunked:
        budget = max(budget, longest_prompt)
    return replace(policy, token_budget=budget, max_sequences=min(sequences, policy.max_sequences))


def _rounded(number: int) -> int:
    """Next power of two."""
    return 1 << max(number - 1, 0).bit_length()


def _hosted(job: Job, requests: Requests, policy: EnginePolicy, step_s: float) -> Job:
    """Time before the scheduler sees a request, as serving/burst.py has it.

    The host takes the burst in one by one. Later requests miss `skipped_steps` steps: one as steps
    are scheduled ahead, the others as time, half a step less so that none is missed in addition.
    """
    tokens_s = policy.token_s * requests.new.astype(float)
    missed_s = max(0.0, policy.skipped_steps - 1.5) * step_s
    host_s = np.maximum(policy.request_s + tokens_s, missed_s)
    first = slice(0, requests.in_flight)
    host_s[first] = policy.request_s + np.cumsum(tokens_s[first])
    host_ps: Ints = np.rint(host_s * PS_PER_S).astype(np.int64)
    return replace(job, host_ps=host_ps)


def _prediction(
    model: TimingModel, placement: Placement, lengths: Lengths, runs: Sequence[Simulation]
) -> SimulatedLoop:
    tables = [run.requests for run in runs]
    end_s = np.array([run.totals.end_s for run in runs])
    decoding = np.array([max(run.totals.running_s / run.totals.end_s, 1.0) for run in runs])
    sent = np.array([float(one.output_tokens.sum()) for one in tables])
    return SimulatedLoop(
        tpot_s=np.array(
            [
                np.median((one.last_token_s - one.first_token_s) / (one.output_tokens - 1.0))
                for one in tables
            ]
        ),
        ttft_s=np.array([np.median(one.ttft_s) for one in tables]),
        output_tokens_per_s_per_chip=sent / end_s / placement.chips,
        decoding=decoding,
        state=steady_state(model, placement, lengths, decoding),
        mean_ttft_s=np.array([one.ttft_s.mean() for one in tables]),
        in_flight=np.array([one.e2e_s.sum() for one in tables]) / end_s,
        preemptions=np.array([one.preemptions.mean() for one in tables]),
    )
