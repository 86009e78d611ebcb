"""What a step costs an engine, as a table made from a timing model.

The cost of a step is nearly a sum of parts that follow one thing each: dense work the token rows,
the head the sampled rows, decode attention the sequences and their keys, prompt attention the
prompt tokens and the keys they see. Token rows are timed one by one, since products jump at tile
edges and steps above the largest captured graph are launched by the host. Whatever is no sum
(host time of a sequence, the rounded maximum of arithmetic and memory traffic, pipeline stages
that idle) is put into the attention tables: they hold the whole step less its dense and sampled
part, so that a step at the knots costs what the timing model says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.numerics import Floats, Ints
from tapeout.perf import Placement, TimingModel
from tapeout.perf.types import StepCost
from tapeout.serving.engine.types import PS_PER_S, StepTable
from tapeout.workload import StepMix

CAPTURED = 512  # most tokens of a step that vLLM captures as a graph by default
EXPERTS, FABRIC, OVERHEAD = "grouped_gemm", "fabric", "overhead"
ATTENTION = ("attention_prefill", "attention_decode", "scan")
SHARED_POINTS = 8192  # token rows of all ranks timed one by one; above, straight lines
SHORTEST = 16.0  # second knot of prompt tokens, keys and contexts; the first is 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How far a table goes: limits of one rank, and the longest request. [token]."""

    token_budget: int
    max_sequences: int
    longest_context: int

    @property
    def rows(self) -> int:
        """Most token rows that a knot of the mixed table has."""
        return self.token_budget + self.max_sequences


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Seconds and joules of steps in which all ranks do the same; arrays of one shape.

    `local_s` and `local_j` are of one rank, `expert_s` and `expert_j` what experts are of them;
    `shared_s` and `shared_j` of experts and collectives that all ranks take part in.
    """

    local_s: Floats
    local_j: Floats
    shared_s: Floats
    shared_j: Floats
    expert_s: Floats
    expert_j: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """What a rank pays alone: seconds and joules, arrays of one shape."""

    local_s: Floats
    local_j: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Knots:
    """Axes of the attention tables; see `StepTable`."""

    contexts: Ints
    prefill: Floats
    keys: Floats
    sequences: Floats


def step_table(
    model: TimingModel,
    placement: Placement,
    *,
    token_budget: int,
    max_sequences: int,
    longest_context: int,
) -> StepTable:
    """Time every step that a rank of a placement can meet.

    Parameters
    ----------
    model : TimingModel
    placement : Placement
        One replica.
    token_budget, max_sequences : int
        Of one data-parallel rank.
    longest_context : int
        Tokens of the longest request; beyond it the last slope goes on.

    Returns
    -------
    StepTable
        A step costs what the model says at the knots if all ranks do the same: within rounding,
        and but for graph padding, which the model leaves out: `tokens_ps` of up to 512 token rows
        is that of the next captured size, experts apart.

    Raises
    ------
    MissingFieldError, InfeasibleError
        As the timing model.

    Notes
    -----
    With several data-parallel ranks the experts and all collectives follow the tokens of all
    ranks as if these were spread evenly: uneven ranks send uneven parts, and collectives inside a
    rank (tensor parallelism) would follow its own tokens. Launches of the experts are in the
    ranks' part. Energy is split between the two as time is.

    A step with P prompt tokens that see q keys on average is timed as P / (2 q - 1) prompts
    without cached tokens, or as one prompt with q - (P + 1) / 2 cached ones where that is
    positive. Host time follows the prompts counted so.
    """
    reach = Reach(
        token_budget=token_budget, max_sequences=max_sequences, longest_context=longest_context
    )
    timer = _Timer(model=model, placement=placement)
    dense = timer.dense(np.arange(reach.rows + 1, dtype=float))
    sampled = timer.sampled(reach)
    knots = knots_of(reach)
    decode = timer.decode(reach, knots, dense, sampled)
    mixed = timer.mixed(knots, dense, sampled)
    padded = padded_tokens(token_budget, max_sequences)
    rows = np.arange(token_budget + 1)
    decode_ps = _ps(decode.local_s)
    shared_s, shared_j = timer.shared(reach)
    return StepTable(
        # Rows that fill up a graph repeat one another: they hit no experts of their own.
        tokens_ps=_ps((dense.local_s - dense.expert_s)[padded] + dense.expert_s[rows]),
        sampled_ps=_ps(sampled.local_s),
        contexts=knots.contexts,
        decode_ps=decode_ps,
        slope_ps=slopes(decode_ps, knots.contexts),
        prefill=knots.prefill,
        keys=knots.keys,
        sequences=knots.sequences,
        mixed_ps=PS_PER_S * mixed.local_s,
        shared_ps=_ps(shared_s),
        tokens_j=(dense.local_j - dense.expert_j)[padded] + dense.expert_j[rows],
        sampled_j=sampled.local_j,
        decode_j=decode.local_j,
        mixed_j=mixed.local_j,
        shared_j=shared_j,
        idle_w=timer.idle_w(),
    )


def padded_tokens(token_budget: int, max_sequences: int) -> Ints:
    """Token rows that a step of 0, 1 ... `token_budget` rows is run with, graphs padded.

    vLLM captures 1, 2, 4, 8, then every 8 to 256 and every 16 up to the smaller of 512 and twice
    the sequences; larger steps run as they are.

    Examples
    --------
    >>> padded_tokens(600, 256)[[0, 3, 9, 250, 257, 511, 513]].tolist()
    [0, 4, 16, 256, 272, 512, 513]
    >>> padded_tokens(600, 16)[[9, 31, 33]].tolist()
    [16, 32, 33]
    """
    most = min(CAPTURED, 2 * max_sequences, token_budget)
    sizes = np.array([0, 1, 2, 4, *range(8, 256, 8), *range(256, CAPTURED + 1, 16)])
    sizes = sizes[sizes <= most]
    rows = np.arange(token_budget + 1)
    place = np.minimum(np.searchsorted(sizes, rows), sizes.size - 1)
    padded: Ints = np.where(rows <= sizes[-1], sizes[place], rows).astype(np.int64)
    return padded


def slopes(decode_ps: Ints, contexts: Ints) -> Ints:
    """Picoseconds for each key beyond the knot, shape (sequences, context); the last repeats."""
    count = np.maximum(np.arange(decode_ps.shape[0]), 1)[:, None]
    rise = np.diff(decode_ps, axis=1) / (count * np.diff(contexts))
    whole: Ints = np.rint(np.concatenate([rise, rise[:, -1:]], axis=1)).astype(np.int64)
    return whole


def knots_of(reach: Reach) -> Knots:
    """Axes of powers of two: what is read and multiplied is linear between them.

    Only windows bend inside a cell, and steps near the largest graph, whose neighbours are knots.
    """
    longest = float(max(reach.longest_context, 2 * int(SHORTEST)))
    contexts = _doubling(longest, SHORTEST)
    budget = float(reach.token_budget)
    edge = [p for p in (0.75 * CAPTURED, CAPTURED, 1.25 * CAPTURED) if p < budget]
    return Knots(
        contexts=contexts.astype(np.int64),
        prefill=np.union1d(_doubling(budget, SHORTEST), edge),
        keys=contexts,
        sequences=np.concatenate([[0.0], _doubling(float(reach.max_sequences), 2.0)]),
    )


def _doubling(last: float, second: float) -> Floats:
    """1, then powers of two from the second knot up to the last, which is one."""
    between = second * 2.0 ** np.arange(max(0.0, np.ceil(np.log2(max(last / second, 1.0)))))
    return np.unique(np.concatenate([[1.0], between[between < last], [last]]))


def _ps(time_s: Floats) -> Ints:
    return np.rint(PS_PER_S * time_s).astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timer:
    """A timing model asked about one rank of a placement."""

    model: TimingModel
    placement: Placement

    def cost(self, mix: StepMix) -> StepCost:
        """Steps in which every rank has this mix."""
        ranks = float(self.placement.data_parallel)
        return self.model.step_cost(
            self.placement,
            StepMix(
                prefill_tokens=ranks * mix.prefill_tokens,
                prefill_context_tokens=mix.prefill_context_tokens,
                prefill_sequences=ranks * mix.prefill_sequences,
                decode_sequences=ranks * mix.decode_sequences,
                decode_kv_tokens=ranks * mix.decode_kv_tokens,
                sampled_sequences=ranks * mix.sampled_sequences,
            ),
        )

    def _split(self, cost: StepCost) -> Cost:
        ranks = self.placement.data_parallel
        none = np.zeros_like(cost.time_s)
        expert = cost.by_kind_s.get(EXPERTS, none)
        shared = expert + cost.by_kind_s[FABRIC] if ranks > 1 else none
        expert = none if ranks > 1 else expert
        power = cost.energy_j / cost.time_s
        return Cost(
            local_s=cost.time_s - shared,
            local_j=power * (cost.time_s - shared) / ranks,
            shared_s=shared,
            shared_j=power * shared,
            expert_s=expert,
            expert_j=power * expert,
        )

    def dense(self, tokens: Floats) -> Cost:
        """Steps of so many rows of a rank without attention, head and host time of sequences.

        Timed as one prompt a pipeline stage, less its attention. Joules of attention follow from
        a second step with twice the pairs.
        """
        none = tokens == 0.0
        rows = np.where(none, 1.0, tokens)
        stages = np.minimum(float(self.placement.pipeline_parallel), np.maximum(rows, 1.0))
        once = self.cost(_mix(prefill=rows, prompts=stages))
        twice = self.cost(_mix(prefill=rows, prompts=stages, cached=(rows / stages + 1.0) / 2.0))
        attention = sum(
            (once.by_kind_s[kind] for kind in ATTENTION[:2] if kind in once.by_kind_s),
            start=np.zeros_like(rows),
        )
        host = self._sequence_s() * stages
        cost = self._split(once)
        double = self._split(twice)
        return Cost(
            local_s=np.where(none, 0.0, cost.local_s - attention - host),
            local_j=np.where(none, 0.0, 2.0 * cost.local_j - double.local_j),
            shared_s=np.where(none, 0.0, cost.shared_s),
            shared_j=np.where(none, 0.0, 2.0 * cost.shared_j - double.shared_j),
            expert_s=np.where(none, 0.0, cost.expert_s),
            expert_j=np.where(none, 0.0, 2.0 * cost.expert_j - double.expert_j),
        )

    def _sequence_s(self) -> float:
        """Host time of one more sequence of a rank."""
        stages = float(self.placement.pipeline_parallel)
        count = np.array([stages, 2.0 * stages])
        host = self.cost(_mix(decode=count, keys=count)).by_kind_s[OVERHEAD]
        return float(host[1] - host[0]) / stages

    def sampled(self, reach: Reach) -> Local:
        """What so many sampled rows of a rank add, from 0 on."""
        rows = np.arange(reach.max_sequences + 1, dtype=float)
        beside = float(max(reach.max_sequences, self.placement.pipeline_parallel))
        cost = self.cost(_mix(decode=beside, keys=beside, sampled=rows))
        ranks = self.placement.data_parallel
        return Local(
            local_s=cost.time_s - cost.time_s[0],
            local_j=(cost.energy_j - cost.energy_j[0]) / ranks,
        )

    def decode(self, reach: Reach, knots: Knots, dense: Cost, sampled: Local) -> Local:
        """Decode steps less their dense and sampled part, shape (max_sequences + 1, context)."""
        count = np.maximum(np.arange(reach.max_sequences + 1.0), 1.0)[:, None]
        sequences, contexts = np.broadcast_arrays(count, knots.contexts.astype(float))
        found = self._rest(
            _mix(decode=sequences.ravel(), keys=(sequences * contexts).ravel()), dense, sampled
        )
        local_s = found.local_s.reshape(sequences.shape)
        local_j = found.local_j.reshape(sequences.shape)
        local_s[0], local_j[0] = 0.0, 0.0
        return Local(local_s=local_s, local_j=local_j)

    def mixed(self, knots: Knots, dense: Cost, sampled: Local) -> Local:
        """Steps with prompts less their dense and sampled part, shape of `StepTable.mixed_ps`."""
        grid = np.meshgrid(
            knots.prefill, knots.keys, knots.sequences, knots.contexts.astype(float), indexing="ij"
        )
        prefill, keys, sequences, contexts = (axis.ravel() for axis in grid)
        cached = np.maximum(keys - (prefill + 1.0) / 2.0, 0.0)
        alone = prefill / np.minimum(2.0 * keys - 1.0, prefill)
        mix = _mix(
            prefill=prefill,
            cached=cached,
            prompts=alone,
            decode=sequences,
            keys=sequences * contexts,
        )
        found = self._rest(mix, dense, sampled)
        shape = grid[0].shape
        return Local(
            local_s=np.maximum(found.local_s.reshape(shape), 0.0),
            local_j=found.local_j.reshape(shape),
        )

    def _rest(self, mix: StepMix, dense: Cost, sampled: Local) -> Local:
        """Steps less what their token rows and sampled rows cost."""
        cost = self.cost(mix)
        rows = mix.tokens.astype(np.int64)
        heads = mix.sampled_sequences.astype(np.int64)
        local_s = cost.time_s - dense.shared_s[rows]
        local_j = (cost.energy_j - dense.shared_j[rows]) / self.placement.data_parallel
        return Local(
            local_s=local_s - dense.local_s[rows] - sampled.local_s[heads],
            local_j=local_j - dense.local_j[rows] - sampled.local_j[heads],
        )

    def shared(self, reach: Reach) -> tuple[Floats, Floats]:
        """Seconds and joules of experts and collectives by the tokens of all ranks."""
        ranks = self.placement.data_parallel
        if ranks == 1:
            return np.zeros(1), np.zeros(1)
        most = ranks * reach.token_budget
        exact = np.arange(min(most, SHARED_POINTS) + 1)
        timed = np.union1d(exact, np.rint(np.linspace(exact[-1], most, SHARED_POINTS)))
        cost = self.dense(timed / ranks)
        rows = np.arange(most + 1)
        return np.interp(rows, timed, cost.shared_s), np.interp(rows, timed, cost.shared_j)

    def idle_w(self) -> float:
        """Power of all chips while nothing runs; 0 for a model that does not say."""
        cost = self.cost(_mix(decode=np.ones(1), keys=np.ones(1)))
        idle = cost.energy_by_part_j.get("idle", np.zeros(1))
        return float(idle[0] / cost.time_s[0])


def _mix(
    *,
    prefill: Floats | float = 0.0,
    cached: Floats | float = 0.0,
    prompts: Floats | float = 0.0,
    decode: Floats | float = 0.0,
    keys: Floats | float = 0.0,
    sampled: Floats | None = None,
) -> StepMix:
    """Mix of one rank; keys count the token itself, which a `StepMix` does not."""
    new, old, count, sequences, seen, heads = np.broadcast_arrays(
        *(
            np.atleast_1d(np.asarray(one, dtype=float))
            for one in (
                prefill,
                cached,
                prompts,
                decode,
                keys,
                decode if sampled is None else sampled,
            )
        )
    )
    return StepMix(
        prefill_tokens=new,
        prefill_context_tokens=old,
        prefill_sequences=count,
        decode_sequences=sequences,
        decode_kv_tokens=np.maximum(seen - sequences, 0.0),
        sampled_sequences=heads,
    )
