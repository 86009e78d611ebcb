"""A closed loop as benchmarks run it: N requests in flight, all N sent at once, 10 N in all.

The prompts of the burst queue for prefill, and as outputs have nearly one length the later
requests arrive bunched too; the wait this causes is most of TTFT and has no steady state. So the
run is computed: one engine replica advances in steps, first come first served, with a token
budget. Between an arrival and an end nothing changes, so many decode steps are taken at once, and
a run of thousands of requests costs milliseconds. Step times come from the timing model as tables.

Not modelled: preemption (a sequence is admitted where its mean context fits), prefix caching,
speculation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.perf import Placement, TimingModel, max_sequences, step_mix
from tapeout.serving.cases import Prediction
from tapeout.serving.steady import Lengths, steady_state

ROUNDS = 10  # requests sent, over requests in flight; that of InferenceX
SEED = 2026
CHUNKS = 9  # grid points of prompt tokens
CONTEXTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class EnginePolicy:
    """How an engine composes its steps.

    Attributes
    ----------
    token_budget : int
        Tokens of a step and data-parallel rank.
    prefill_alone : bool
        Prompts go first, in steps without decodes; else they share steps with all decodes.
    chunked : bool
        A prompt may be cut to fill the budget; else it waits for a step with room for it whole.
    max_sequences : int
        Sequences of a rank, memory apart.
    skipped_steps : int
        Steps that start after a request arrives and before it can enter one: an engine that
        schedules ahead has the next step composed already.
    polled_steps : int
        Arrivals are looked at once in so many decode steps, and after every step with prompts.
    balance_steps : int
        With several data-parallel ranks, prompts wait so many steps at most until every rank has
        one; 0 to start them at once.
    wait_steps : int
        With one rank, prompts wait so many steps at most until the step has `wait_fraction` of
        its budget; 0 to start them at once.
    wait_fraction : float
    request_s : float
        Host time before a request is queued: network, parsing. [s]
    token_s : float
        Host time of a prompt token (tokeniser); the requests of a burst are taken one by one. [s]
    """

    token_budget: int = 8192
    prefill_alone: bool = False
    chunked: bool = True
    max_sequences: int = 1024
    skipped_steps: int = 1
    polled_steps: int = 1
    balance_steps: int = 0
    wait_steps: int = 0
    wait_fraction: float = 0.0
    request_s: float = 0.0
    token_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BurstPrediction(Prediction):
    """What a benchmark prints of its runs; arrays have shape (point,).

    `tpot_s` and `ttft_s` are medians over all requests, `output_tokens_per_s_per_chip` is over the
    whole run with its start and end, `decoding` the mean number of sequences that decode beside
    a token, `state` the steady state with so many.
    """

    mean_ttft_s: Floats
    in_flight: Floats  # mean over the run: requests x mean time in the system / duration
    carrying_fraction: Floats  # of the steps: those with prompt tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTables:
    """Step times on a grid [s]: `decode_s` (sequences, context), `carry_s` (tokens, n, context)."""

    sequences: Floats
    contexts: Floats  # less what was cached
    decode_s: Floats
    chunks: Floats
    beside: Floats  # sequences decoding beside a chunk, from 0
    carry_s: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    """Requests of a run in order of sending, so many of them in flight at a time.

    `new` are prompt tokens to be computed, `out` tokens to be generated (two at least), shape
    (request,).
    """

    new: Ints
    out: Ints
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Every request of one run, in order of sending; arrays have shape (request,)."""

    sent_s: Floats
    ttft_s: Floats
    tpot_s: Floats
    end_s: Floats
    duration_s: float
    decoding: float  # sequences decoding beside a token, mean over tokens
    carrying_steps: int
    steps: int
    prompt_tokens: int
    output_tokens: int

    @property
    def in_flight(self) -> float:
        """Mean number of requests in the system, waiting included, over the run."""
        return float((self.end_s - self.sent_s).sum() / self.duration_s)


def request_lengths(mean: float, spread: float, count: int, rng: np.random.Generator) -> Ints:
    """Lengths spread evenly over mean x (1 -+ spread), in random order, shape (count,).

    Stratified: the quantiles of the uniform distribution, so that the sum is count x mean but
    for rounding whatever the order.
    """
    share = (np.arange(count) + 0.5) / count
    values = mean * (1.0 + spread * (2.0 * share - 1.0))
    return rng.permutation(np.maximum(1, np.rint(values)).astype(np.int64))


def step_tables(
    model: TimingModel, placement: Placement, lengths: Lengths, most: int, token_budget: int
) -> StepTables:
    """Time the steps that runs with up to `most` requests in flight can meet.

    A chunk shorter than a prompt is taken from its middle: the attention of all chunks of a
    prompt then adds up to that of the whole prompt, however it is cut.
    """
    count = _sizes(most)
    contexts = np.linspace(lengths.input, lengths.input + lengths.output, CONTEXTS)
    pairs = np.meshgrid(count, contexts, indexing="ij")
    budget = float(token_budget * placement.data_parallel)
    chunks = np.unique(
        np.append(np.geomspace(min(32.0, budget / 2.0), budget, CHUNKS), min(lengths.new, budget))
    )
    beside = np.concatenate([[0.0], count])
    triples = np.meshgrid(chunks, beside, contexts, indexing="ij")
    tokens, others, held = (axis.ravel() for axis in triples)
    ranks = float(placement.data_parallel)
    prompts = np.maximum(tokens / lengths.new, np.minimum(ranks, tokens))
    decode = step_mix(decode=pairs[0].ravel(), context=pairs[1].ravel())
    carry = step_mix(
        prefill=tokens,
        cached=lengths.cached + np.maximum(lengths.new - tokens / prompts, 0.0) / 2.0,
        prompts=prompts,
        decode=others,
        context=held,
    )
    return StepTables(
        sequences=count,
        contexts=contexts - lengths.cached,  # the loop counts new tokens and output
        decode_s=model.step_cost(placement, decode).time_s.reshape(pairs[0].shape),
        chunks=chunks,
        beside=beside,
        carry_s=model.step_cost(placement, carry).time_s.reshape(triples[0].shape),
    )


def _sizes(most: int) -> Floats:
    """Grid of numbers of sequences: half powers of two up to the most."""
    steps = np.arange(0, 2 * int(np.ceil(np.log2(max(most, 2)))) + 1)
    sizes = np.unique(np.rint(2.0 ** (steps / 2.0)))
    return np.append(sizes[sizes < most], float(most))


def run_burst(
    tables: StepTables,
    requests: Requests,
    policy: EnginePolicy,
    *,
    ranks: int = 1,
    jump: bool = True,
) -> Run:
    """Run the requests through one replica, those in flight at first all sent at once.

    Parameters
    ----------
    tables : StepTables
    requests : Requests
        In flight over all ranks; each rank serves its equal part.
    policy : EnginePolicy
    ranks : int
        Data-parallel ranks, which step together: the one with most prompt tokens is waited for.
    jump : bool
        False takes every step on its own, with the same result; for tests.
    """
    from tapeout.serving import _kernels as kernels  # noqa: PLC0415 - loads the compiler

    new, out = requests.new, requests.out
    slots = min(requests.in_flight, new.size)
    rule = np.array(
        [
            policy.token_budget,
            policy.prefill_alone,
            policy.chunked,
            policy.max_sequences,
            policy.skipped_steps,
            policy.polled_steps,
            policy.balance_steps,
            policy.wait_steps,
            int(policy.wait_fraction * policy.token_budget),
        ],
        dtype=np.int64,
    )
    sent, ttft, tpot, end, totals = kernels.closed_loop_run(
        new, out, slots, min(ranks, slots), rule,
        np.array([policy.request_s, policy.token_s]),
        tables.sequences, tables.contexts, tables.decode_s,
        tables.chunks, tables.beside, tables.carry_s, int(jump),
    )  # fmt: skip
    return Run(
        sent_s=sent,
        ttft_s=ttft,
        tpot_s=tpot,
        end_s=end,
        duration_s=float(totals[0]),
        decoding=float(totals[1] / max(totals[5] - new.size, 1.0)),
        carrying_steps=int(totals[2]),
        steps=int(totals[3]),
        prompt_tokens=int(totals[4]),
        output_tokens=int(totals[5]),
    )


def burst_closed_loop(
    model: TimingModel,
    placement: Placement,
    lengths: Lengths,
    spread: float,
    concurrency: Floats,
    policy: EnginePolicy | Sequence[EnginePolicy],
) -> BurstPrediction:
    """Predict closed-loop runs with a burst start, one for each number of requests in flight.

    Parameters
    ----------
    model : TimingModel
    placement : Placement
        One replica. Its data-parallel ranks share the requests evenly.
    lengths : Lengths
        Means; an output has two tokens at least.
    spread : float
        Lengths are uniform in mean x (1 -+ spread): 1/9 for 0.8 to 1.0 of a nominal length.
    concurrency : array, shape (point,)
        Requests in flight over the replica.
    policy : EnginePolicy, or one for each point

    Returns
    -------
    BurstPrediction
        The same input gives the same bytes.

    Raises
    ------
    InfeasibleError
        A spread outside 0 to 1, or another number of policies than points.
    MissingFieldError
        As the timing model.
    """
    counts, policies = loop_points(spread, concurrency, policy)
    most = max_sequences(placement, lengths.context) // placement.data_parallel
    tables: dict[int, StepTables] = {}
    runs = []
    for count, rule in zip(counts, policies, strict=True):
        if rule.token_budget not in tables:
            tables[rule.token_budget] = step_tables(
                model, placement, lengths, max(counts), rule.token_budget
            )
        held = replace(rule, max_sequences=max(1, min(rule.max_sequences, most)))
        table, requests = tables[rule.token_budget], loop_requests(lengths, spread, count)
        runs.append(run_burst(table, requests, held, ranks=placement.data_parallel))
    return _prediction(model, placement, lengths, runs)


def loop_points(
    spread: float, concurrency: Floats, policy: EnginePolicy | Sequence[EnginePolicy]
) -> tuple[list[int], list[EnginePolicy]]:
    """Requests in flight and policy of every point.

    Raises
    ------
    InfeasibleError
        A spread outside 0 to 1, or another number of policies than points.
    """
    counts = [max(1, round(float(n))) for n in np.atleast_1d(concurrency)]
    policies = [policy] * len(counts) if isinstance(policy, EnginePolicy) else list(policy)
    if not 0.0 <= spread < 1.0:
        raise InfeasibleError(f"lengths spread by {spread:g} of their mean; give 0 to below 1")
    if len(policies) != len(counts):
        raise InfeasibleError(f"{len(policies)} policies for {len(counts)} points; give one each")
    return counts, policies


def loop_requests(lengths: Lengths, spread: float, in_flight: int) -> Requests:
    """Requests of a run; the same for every placement."""
    rng = np.random.default_rng([SEED, in_flight])
    new = request_lengths(lengths.new, spread, ROUNDS * in_flight, rng)
    out = request_lengths(lengths.output, spread, ROUNDS * in_flight, rng)
    return Requests(new=new, out=np.maximum(out, 2), in_flight=in_flight)


def _prediction(
    model: TimingModel, placement: Placement, lengths: Lengths, runs: Sequence[Run]
) -> BurstPrediction:
    decoding = np.array([max(run.decoding, 1.0) for run in runs])
    return BurstPrediction(
        tpot_s=np.array([np.median(run.tpot_s) for run in runs]),
        ttft_s=np.array([np.median(run.ttft_s) for run in runs]),
        output_tokens_per_s_per_chip=np.array(
            [run.output_tokens / run.duration_s / placement.chips for run in runs]
        ),
        decoding=decoding,
        state=steady_state(model, placement, lengths, decoding),
        mean_ttft_s=np.array([run.ttft_s.mean() for run in runs]),
        in_flight=np.array([run.in_flight for run in runs]),
        carrying_fraction=np.array([run.carrying_steps / run.steps for run in runs]),
    )
