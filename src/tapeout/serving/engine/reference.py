"""The readable simulator of one engine replica; slow, and the one the fast kernel must equal.

Everything that happens is a decision or the end of a step. Both are found here; what a decision
does is in `schedule`, what a step costs in `costs`, when requests come in `arrivals`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from tapeout.serving.engine.arrivals import Arrivals, Balancer
from tapeout.serving.engine.costs import StepCosts
from tapeout.serving.engine.gaps import GapRecord
from tapeout.serving.engine.hosted import HostedDecision, store_full_blocks
from tapeout.serving.engine.job import Job
from tapeout.serving.engine.record import LogRecord, RequestRecord, Samples, State, Sums
from tapeout.serving.engine.schedule import (
    SCHEDULERS,
    Decision,
    Entry,
    Rank,
    Request,
    load_of,
)
from tapeout.serving.engine.types import PS_PER_S, Event, Rules, Simulation, StepTable


def run_reference(
    job: Job,
    rules: Rules,
    table: StepTable,
    *,
    samples_s: float = 0.0,
    log: bool = False,
    gaps_from_s: float | None = None,
) -> Simulation:
    """Simulate one replica from its first request to its last token.

    Parameters
    ----------
    job : Job
    rules : Rules
    table : StepTable
        Of one rank, and of what the ranks share.
    samples_s : float
        Time between samples of the timeline; 0: no timeline. [s]
    log : bool
        Whether to keep every event.
    gaps_from_s : float, optional
        Count the gaps between tokens that end from this time on; default: none. [s]

    Returns
    -------
    Simulation

    Notes
    -----
    docs/simulate.md has the rules.
    """
    engine = Engine(job, rules, table, samples_s=samples_s, log=log)
    if gaps_from_s is not None:
        engine.count_gaps(gaps_from_s)
    engine.run()
    return engine.simulation()


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A step that is queued or runs.

    Attributes
    ----------
    entries : list of Entry
        Rank by rank, in the order in which they were scheduled.
    ranks : list of int
        Rank of each entry.
    end_ps : int
    joules_per_token : float
    """

    entries: list[Entry]
    ranks: list[int]
    end_ps: int
    joules_per_token: float


class Engine:
    """One replica while it runs; see `run_reference` for the parameters."""

    def __init__(
        self, job: Job, rules: Rules, table: StepTable, *, samples_s: float, log: bool
    ) -> None:
        self.job = job
        self.rules = rules
        self.now_ps = 0
        self.queue: deque[Batch] = deque()
        self.ranks = [Rank(rules) for _ in range(rules.ranks)]
        self._requests = _requests(job)
        self._arrivals = Arrivals(job)
        self._balancer = Balancer(rules.ranks)
        self._costs = StepCosts(table)
        self._scheduler = SCHEDULERS[rules.order]
        self._records = RequestRecord(len(self._requests))
        self._log = LogRecord() if log else None
        self._sums = Sums()
        self._samples = Samples(round(samples_s * PS_PER_S))
        self._gaps: GapRecord | None = None

    def count_gaps(self, since_s: float) -> None:
        """Count the gaps between tokens that end from a time on. [s]."""
        self._gaps = GapRecord(self.job.prompt.size, round(since_s * PS_PER_S))

    def run(self) -> None:
        """Serve all requests."""
        while True:
            self._fill_queue()
            if self.queue:
                self._pass_time(self.queue[0].end_ps)
                self._retire(self.queue.popleft())
            elif (next_ps := self._next_ps()) is not None:
                self._pass_time(next_ps)
            else:
                break
        assert not any(rank.waiting or rank.running for rank in self.ranks), "somebody is stuck"
        if self._samples.next_ps is not None:
            self._samples.take(self._state())  # the first one at the end or after it

    def _next_ps(self) -> int | None:
        """When something happens while no step is queued: an arrival, or the end of a copy."""
        held_back = (one.held_back_ps for rank in self.ranks for one in rank.waiting)
        times = [time_ps for time_ps in held_back if time_ps > self.now_ps]
        if self._arrivals.next_ps is not None:
            times.append(self._arrivals.next_ps)
        return min(times, default=None)

    def simulation(self) -> Simulation:
        """Return what was recorded."""
        idle_s = (self.now_ps - self._sums.busy_ps) / PS_PER_S
        return Simulation(
            requests=self._records.table(self.job, self._arrivals.sent_ps),
            totals=self._sums.totals(
                self.now_ps,
                self._costs.idle_j(idle_s),
                [rank.host for rank in self.ranks if rank.host],
            ),
            timeline=self._samples.timeline(),
            log=self._log.log() if self._log else None,
            gaps=self._gaps.gaps() if self._gaps else None,
        )

    # time

    def _pass_time(self, until_ps: int) -> None:
        """Let time pass to the next event; only the queues of new requests grow meanwhile."""
        next_ps = self._samples.next_ps
        while next_ps is not None and next_ps < until_ps:
            self._see_arrivals(next_ps)
            self._samples.take(self._state())
            next_ps = self._samples.next_ps
        self._see_arrivals(until_ps - 1)
        self._balancer.refresh(until_ps, self._queues())
        self._sums.pass_time(self._state(), until_ps - self.now_ps)
        self.now_ps = until_ps

    def _see_arrivals(self, until_ps: int) -> None:
        """Put requests that are ready by then into the queue of a rank."""
        while self._arrivals.next_ps is not None and self._arrivals.next_ps <= until_ps:
            time_ps, index = self._arrivals.pop()
            self._balancer.refresh(time_ps, self._queues())
            self.ranks[self._balancer.choose()].waiting.append(self._requests[index])

    def _queues(self) -> Iterator[tuple[int, int]]:
        return ((len(rank.waiting), len(rank.running)) for rank in self.ranks)

    def _state(self) -> State:
        return State(
            running=sum(len(rank.running) for rank in self.ranks),
            waiting=sum(len(rank.waiting) for rank in self.ranks),
            blocks=sum(rank.pool.held for rank in self.ranks),
        )

    # steps

    def _fill_queue(self) -> None:
        """Decide until as many steps are queued as may be, or nothing is left to do."""
        self._see_arrivals(self.now_ps)
        while len(self.queue) <= self.rules.async_depth:
            decisions = self._decide()
            if not any(decision.entries for decision in decisions):
                if self.queue or not any(decision.preempted for decision in decisions):
                    return
                continue  # the last one to run gave way to copies: others may go on
            self._queue_step(decisions)

    def _decide(self) -> list[Decision]:
        decisions = []
        for rank in self.ranks:
            decision = self._decision(rank)
            self._scheduler.fill(decision, rank.running)
            decisions.append(decision)
        self._sums.peak(
            sum(len(rank.running) for rank in self.ranks),
            sum(rank.pool.held for rank in self.ranks),
        )
        return decisions

    def _decision(self, rank: Rank) -> Decision:
        if rank.host is None:
            return Decision(rank, self.rules, self._note)
        rank.host.begin(self.now_ps)
        return HostedDecision(rank, self.rules, self._note, rank.host)

    def _queue_step(self, decisions: list[Decision]) -> None:
        """Queue a step; it begins now or at the end of the one before it."""
        loads = [load_of(decision.entries.values()) for decision in decisions]
        time_ps = self._costs.step_ps(loads)
        energy_j = self._costs.step_j(loads)
        free_ps = self.queue[-1].end_ps if self.queue else self.now_ps
        tiers = [rank.host for rank in self.ranks if rank.host]
        start_ps = max([free_ps, *(tier.stall_ps for tier in tiers)])
        end_ps = start_ps + time_ps
        entries = [entry for decision in decisions for entry in decision.entries.values()]
        self.queue.append(
            Batch(
                entries=entries,
                ranks=[i for i, each in enumerate(decisions) for _ in each.entries],
                end_ps=end_ps,
                joules_per_token=energy_j / sum(load.tokens for load in loads),
            )
        )
        self._sums.step(entries, time_ps, energy_j)
        self._sums.stalled_ps += start_ps - free_ps
        for tier, decision in zip(tiers, decisions, strict=False):  # all ranks have one, or none
            store_full_blocks(tier, decision.entries.values(), end_ps, self.rules.block_tokens)
        self._samples.tokens(prompt=sum(load.prompt for load in loads))

    def _retire(self, batch: Batch) -> None:
        """Take in what a step that ends now has made."""
        energy_j = self._records.energy_j
        for rank, entry in zip(batch.ranks, batch.entries, strict=True):
            request = entry.request
            energy_j[request.index] += entry.tokens * batch.joules_per_token
            if not entry.emitted:
                continue
            if self._gaps:
                self._gaps.note(self.now_ps, request.index)
            if entry.first:
                self._note(Event.FIRST, request.index, 0)
            if entry.last:
                self._note(Event.FINISH, request.index, 0)
                self.ranks[rank].drop(request)
                self._arrivals.ended(request.index, self.now_ps)
        self._samples.tokens(output=sum(entry.emitted for entry in batch.entries))

    def _note(self, event: Event, request: int, value: int) -> None:
        """Record an event that happens now."""
        self._records.note(event, self.now_ps, request, value)
        self._sums.note(event, value)
        if self._log:
            self._log.note(event, self.now_ps, request, value)


def _requests(job: Job) -> list[Request]:
    prompt, output, loaded = job.prompt.tolist(), job.output.tolist(), job.loaded.tolist()
    offsets, ids, own = job.offsets.tolist(), job.ids.tolist(), job.own.tolist()
    return [
        Request(
            index=i,
            prompt=prompt[i],
            output=output[i],
            loaded=loaded[i],
            identities=partial(_identity, ids[offsets[i] : offsets[i + 1]], own[i]),
        )
        for i in range(len(prompt))
    ]


def _identity(of_prompt: list[int], own: int, block: int) -> int:
    """Identity of a block of a request: shared where the trace has one, else its own."""
    return of_prompt[block] if block < len(of_prompt) else own + block
