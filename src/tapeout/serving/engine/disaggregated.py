"""Prefill and decode on replicas of their own, keys and values moving from one to the other.

Stage 1 runs every prompt on a prefill replica up to its first token. Its keys then go over the
network; stage 2 runs it on a decode replica, from when they have come. Nothing flows back from
stage 2 to stage 1, so the stages run one after the other. docs/simulate.md has what is
approximate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.serving.engine.gaps import pooled
from tapeout.serving.engine.handover import Link, Wire, assigned
from tapeout.serving.engine.job import Front, Job, prepare
from tapeout.serving.engine.run import run_engine
from tapeout.serving.engine.types import (
    PS_PER_S,
    Event,
    Log,
    RequestTable,
    Rules,
    RunTotals,
    Simulation,
    StepTable,
    Timeline,
)
from tapeout.serving.traffic.scaling import take
from tapeout.serving.traffic.trace import Flags, Trace

SUMS = tuple(name for name in RunTotals.__slots__ if name != "end_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Equal replicas.

    Attributes
    ----------
    rules : Rules
    table : StepTable
    replicas : int
    """

    rules: Rules
    table: StepTable
    replicas: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Two pools and what lies between them.

    Attributes
    ----------
    prefill, decode : Pool
    link : Link
    stream_first : bool
        The prefill replica's token goes to the client; else the decode replica computes the last
        prompt token again and its token is the first (vLLM).
    least_loaded : bool
        Requests go to the replica that is expected to have fewest; else by turns.
    """

    prefill: Pool
    decode: Pool
    link: Link
    stream_first: bool = False
    least_loaded: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfers:
    """When keys moved; arrays of shape (request,), nan for those that never did.

    Attributes
    ----------
    start_s, end_s : array
        On the wire, and known at the decode replica. [s]
    pinned_blocks : float
        Mean blocks of a prefill replica held for keys that had not left yet.
    """

    start_s: Floats
    end_s: Floats
    pinned_blocks: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitRun:
    """Both stages as one run, and what moved between them.

    Replicas count prefill ones first. `simulation.totals` are of both pools.
    """

    simulation: Simulation
    transfers: Transfers


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What runs a replica, and what to keep: the interval of the timeline (0: none), the log, gaps.

    Gaps between tokens are counted that end from `gaps_from_s` on; None: none.
    """

    samples_s: float = 0.0
    log: bool = False
    gaps_from_s: float | None = None
    runner: Callable[..., Simulation] = run_engine


def run_disaggregated(
    trace: Trace, split: Split, *, front: Front | None = None, watch: Watch | None = None
) -> SplitRun:
    """Run a trace through a prefill and a decode pool.

    Parameters
    ----------
    trace : Trace
        Without turns that wait for others.
    split : Split
    front : Front, optional
        Time before the scheduler of the prefill pool.
    watch : Watch, optional

    Raises
    ------
    InfeasibleError
        Turns that wait for an answer, or no replica.

    Notes
    -----
    `queue + prefill + transfer + queue + step` is the time to the first token; with `stream_first`
    only the first two. Blocks of a prompt stay on the prefill side until its keys have left. That
    is done in two passes: the mean of what is pinned in the first is taken off the cache in the
    second. Links carry one transfer after another in order of the prompts' ends, and a transfer
    takes the links of both its replicas for its time.
    """
    if trace.parent is not None and bool((trace.parent >= 0).any()):
        raise InfeasibleError(
            "turns that wait for an answer cannot be simulated with prefill apart; "
            "give a trace whose requests do not wait for one another"
        )
    if min(split.prefill.replicas, split.decode.replicas) < 1:
        raise InfeasibleError("each pool needs a replica")
    return _Run(trace=trace, split=split, front=front, watch=watch or Watch()).whole()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stage:
    """Runs of the replicas of one pool, and which requests of the trace each had."""

    runs: list[Simulation]
    places: list[Ints]

    def column(self, name: str, count: int) -> Floats:
        """A column of the tables by request of the trace; nan where there is none."""
        found = np.full(count, np.nan)
        for run, place in zip(self.runs, self.places, strict=True):
            found[place] = getattr(run.requests, name)
        return found

    def replica(self, count: int) -> Ints:
        """Replica of every request, -1 for none."""
        found = np.full(count, -1, np.int64)
        for number, place in enumerate(self.places):
            found[place] = number
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    trace: Trace
    split: Split
    front: Front | None
    watch: Watch

    def whole(self) -> SplitRun:
        """Both stages, put together."""
        rejected = self._rejected()
        kept = np.flatnonzero(~rejected)
        first = self._prefill(kept, 0)
        moved, here = self._move(first, kept)
        pinned = round(self._pinned(first, moved, kept))
        if pinned:
            first = self._prefill(kept, pinned)
            moved, here = self._move(first, kept)
        second = self._decode(moved, here)
        since_s = self.watch.gaps_from_s or 0.0
        return SplitRun(
            simulation=_joined((self.trace, self.split), first, second, rejected, since_s),
            transfers=replace(moved, pinned_blocks=self._pinned(first, moved, kept)),
        )

    def _rejected(self) -> Flags:
        """Requests that one of the pools can never hold; they go to neither."""
        ones = replace(self.trace, output_tokens=np.ones_like(self.trace.output_tokens))
        there = prepare(ones, self.split.prefill.rules).rejected
        here = prepare(self.trace, self.split.decode.rules).rejected
        return (there | here).astype(bool)

    def _prefill(self, kept: Ints, pinned: int) -> _Stage:
        """Prompts with one token each; `pinned` blocks are not there."""
        pool = self.split.prefill
        ones = take(replace(self.trace, output_tokens=np.ones_like(self.trace.output_tokens)), kept)
        rules = pool.rules
        if kept.size:
            longest = -(-int(ones.input_tokens.max()) // rules.block_tokens)
            rules = replace(rules, kv_blocks=max(rules.kv_blocks - pinned, longest))
        full = pool.table.tokens_ps.size - 1
        token_s = float(pool.table.tokens_ps[full]) / PS_PER_S / full / rules.ranks
        shares = assigned(
            ones.arrival_s,
            token_s * ones.input_tokens.astype(np.float64),
            pool.replicas,
            least=self.split.least_loaded,
            serial=True,
        )
        used = int(shares.max(initial=0)) + 1  # replicas behind the last one used do not run
        places = [np.flatnonzero(shares == one) for one in range(used)]
        runs = [
            self._engine(prepare(take(ones, at), rules, front=self.front), rules, pool.table)
            for at in places
        ]
        return _Stage(runs=runs, places=[kept[at] for at in places])

    def _engine(self, job: Job, rules: Rules, table: StepTable) -> Simulation:
        return self.watch.runner(
            job,
            rules,
            table,
            samples_s=self.watch.samples_s,
            log=self.watch.log,
            gaps_from_s=self.watch.gaps_from_s,
        )

    def _move(self, first: _Stage, kept: Ints) -> tuple[Transfers, Ints]:
        """Send the keys of every prompt that has more to come, and say to which replica."""
        count = self.trace.requests
        begin, end = first.column("scheduled_s", count), first.column("last_token_s", count)
        goes = kept[self.trace.output_tokens[kept] > 1] if self.split.stream_first else kept
        goes = goes[np.argsort(end[goes], kind="stable")]
        there, here = first.replica(count), np.full(count, -1, np.int64)
        here[goes] = self._decode_replica(end[goes], goes)
        start, done = np.full(count, np.nan), np.full(count, np.nan)
        ranks = self.split.prefill.rules.ranks, self.split.decode.rules.ranks
        wire = Wire(link=self.split.link, ranks=ranks)
        for one in goes.tolist():
            prompt_s = float(begin[one]), float(end[one])
            tokens = int(self.trace.input_tokens[one])
            start[one], done[one] = wire.send(int(there[one]), int(here[one]), tokens, prompt_s)
        return Transfers(start_s=start, end_s=done, pinned_blocks=0.0), here

    def _decode_replica(self, ready_s: Floats, which: Ints) -> Ints:
        """Decode replica of requests in order of their prompts' ends."""
        pool = self.split.decode
        sequences = max(1, min(pool.rules.max_sequences, pool.table.decode_ps.shape[0] - 1) // 4)
        step_ps = float(pool.table.tokens_ps[min(sequences, pool.table.tokens_ps.size - 1)])
        step_s = (step_ps + float(pool.table.decode_ps[sequences, 0])) / PS_PER_S
        return assigned(
            ready_s,
            step_s * self.trace.output_tokens[which].astype(np.float64),
            pool.replicas,
            least=self.split.least_loaded,
            serial=False,
        )

    def _pinned(self, first: _Stage, moved: Transfers, kept: Ints) -> float:
        """Mean blocks of a prefill rank that wait for their keys to leave."""
        if not kept.size:
            return 0.0
        rules = self.split.prefill.rules
        end = first.column("last_token_s", self.trace.requests)
        held_s = np.nan_to_num(moved.end_s - end, nan=0.0)
        blocks = -(-self.trace.input_tokens // rules.block_tokens)
        span_s = float(np.nanmax(np.fmax(moved.end_s, end))) - float(self.trace.arrival_s[0])
        ranks = self.split.prefill.replicas * rules.ranks
        return float((held_s * blocks).sum()) / max(span_s, 1.0 / PS_PER_S) / ranks

    def _decode(self, moved: Transfers, here: Ints) -> _Stage:
        """Requests in order of their keys' coming, each on the replica that has them."""
        goes = np.flatnonzero(here >= 0)
        goes = goes[np.argsort(moved.end_s[goes], kind="stable")]
        pool = self.split.decode
        early = int(self.split.stream_first)  # the first token is a prompt token here
        later = replace(
            take(self.trace, goes),
            arrival_s=moved.end_s[goes],
            input_tokens=self.trace.input_tokens[goes] + early,
            output_tokens=self.trace.output_tokens[goes] - early,
        )
        used = int(here.max(initial=0)) + 1
        places = [np.flatnonzero(here[goes] == one) for one in range(used)]
        runs = []
        for at in places:
            share = take(later, at)
            loaded = share.input_tokens.astype(np.int64) - 1
            job = prepare(share, pool.rules, loaded=loaded)
            runs.append(self._engine(job, pool.rules, pool.table))
        return _Stage(runs=runs, places=[goes[at] for at in places])


def _joined(
    asked: tuple[Trace, Split], first: _Stage, second: _Stage, rejected: Flags, since_s: float
) -> Simulation:
    """One table, one sum, one timeline and one log of both stages."""
    trace, split = asked
    count = trace.requests
    early, late = _columns(first, count), _columns(second, count)
    went = second.replica(count)
    both = {
        name: np.nan_to_num(early[name]) + np.nan_to_num(late[name])
        for name in ("preemptions", "preempted_s", "energy_j")
    }
    begun = early["first_token_s"] if split.stream_first else late["first_token_s"]
    last = np.where(went >= 0, late["last_token_s"], early["last_token_s"])
    table = RequestTable(
        arrival_s=np.where(rejected, trace.arrival_s, early["arrival_s"]),  # whole picoseconds
        input_tokens=trace.input_tokens.astype(np.int64),
        output_tokens=trace.output_tokens.astype(np.int64),
        scheduled_s=early["scheduled_s"],
        first_token_s=begun,
        last_token_s=last,
        hit_tokens=np.nan_to_num(early["hit_tokens"]).astype(np.int64),
        preemptions=both["preemptions"].astype(np.int64),
        preempted_s=both["preempted_s"],
        energy_j=both["energy_j"],
        replica=np.where(went >= 0, split.prefill.replicas + went, first.replica(count)),
        rejected=rejected.astype(np.int64),
    )
    lines = [one.timeline for one in (*first.runs, *second.runs) if one.timeline is not None]
    gaps = pooled([run.gaps for run in (*first.runs, *second.runs)])
    if gaps is not None and split.stream_first:  # keys move between the first two tokens
        gaps = gaps.also(early["last_token_s"], late["first_token_s"], since_s)
    return Simulation(
        requests=table,
        totals=_totals(split, first, second),
        timeline=_timeline(lines) if lines else None,
        log=_log(first, second, stream_first=split.stream_first),
        gaps=gaps,
    )


def _columns(stage: _Stage, count: int) -> dict[str, Floats]:
    names = (
        "arrival_s", "scheduled_s", "first_token_s", "last_token_s", "hit_tokens",
        "preemptions", "preempted_s", "energy_j",
    )  # fmt: skip
    return {name: stage.column(name, count) for name in names}


def _totals(split: Split, first: _Stage, second: _Stage) -> RunTotals:
    """Sums of all replicas; keys that came with a request are no hits."""
    runs = [*first.runs, *second.runs]
    end_s = max((run.totals.end_s for run in runs), default=0.0)
    sums: dict[str, Any] = {name: sum(getattr(run.totals, name) for run in runs) for name in SUMS}
    for pool, stage in ((split.prefill, first), (split.decode, second)):
        waits_s = sum(end_s - run.totals.end_s for run in stage.runs)
        sums["energy_j"] += pool.table.idle_w * waits_s  # a replica idles until the last one ends
    came = sum(int(run.requests.input_tokens.sum()) - run.requests.input_tokens.size
               for run in second.runs)  # fmt: skip
    return RunTotals(**sums | {"end_s": end_s, "hit_tokens": sums["hit_tokens"] - came})


def _timeline(lines: list[Timeline]) -> Timeline:
    """States added up; a replica that ended is empty."""
    longest = max(lines, key=lambda line: line.time_s.size)
    sums = {}
    for name in Timeline.__slots__:
        if name == "time_s":
            continue
        sums[name] = np.zeros(longest.time_s.size)
        for line in lines:
            values = getattr(line, name)
            sums[name][: values.size] += values
    return Timeline(time_s=longest.time_s, **sums)


def _log(first: _Stage, second: _Stage, *, stream_first: bool) -> Log | None:
    """Events of both stages: one ADMIT at first, one FIRST and one FINISH a request."""
    parts = []
    moved = np.concatenate([np.zeros(0, np.int64), *second.places])
    for stage, late in ((first, False), (second, True)):
        for run, place in zip(stage.runs, stage.places, strict=True):
            if run.log is None:
                return None
            request = place[run.log.request]
            kind = run.log.kind
            if late:
                drop = _first_of(kind == Event.ADMIT, request)
                drop |= stream_first & (kind == Event.FIRST)
            else:
                drop = (kind == Event.FINISH) & np.isin(request, moved)
                drop |= (not stream_first) & (kind == Event.FIRST)
            parts.append((kind[~drop], run.log.time_ps[~drop], request[~drop],
                          run.log.value[~drop]))  # fmt: skip
    kind, time_ps, request, value = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(time_ps, kind="stable")
    return Log(kind=kind[order], time_ps=time_ps[order], request=request[order], value=value[order])


def _first_of(chosen: Flags, request: Ints) -> Flags:
    """Which of the chosen events are the first of their request."""
    found = np.zeros(chosen.size, np.bool_)
    places = np.flatnonzero(chosen)
    _, first = np.unique(request[places], return_index=True)
    found[places[first]] = True
    return found
