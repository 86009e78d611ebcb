"""What a run leaves behind: the log, the table of requests, sums and samples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import nan

import numpy as np

from tapeout.numerics import Floats
from tapeout.serving.engine.host import HostTier
from tapeout.serving.engine.job import Job
from tapeout.serving.engine.schedule import Entry
from tapeout.serving.engine.types import (
    PS_PER_S,
    Event,
    Log,
    RequestTable,
    RunTotals,
    Timeline,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """All ranks together between two events."""

    running: int
    waiting: int
    blocks: int


class RequestRecord:
    """Times [ps] and counts of every request."""

    def __init__(self, requests: int) -> None:
        self.scheduled_ps: list[int | None] = [None] * requests
        self.first_ps: list[int | None] = [None] * requests
        self.last_ps: list[int | None] = [None] * requests
        self.hit_tokens = [0] * requests
        self.preemptions = [0] * requests
        self.preempted_ps = [0] * requests
        self.energy_j = [0.0] * requests
        self._since_ps = [0] * requests  # of the last preemption

    def note(self, event: Event, time_ps: int, request: int, value: int) -> None:
        """Take an event in."""
        if event is Event.ADMIT:
            if self.scheduled_ps[request] is None:
                self.scheduled_ps[request] = time_ps
                self.hit_tokens[request] = value
            else:
                self.preempted_ps[request] += time_ps - self._since_ps[request]
        elif event is Event.PREEMPT:
            self.preemptions[request] += 1
            self._since_ps[request] = time_ps
        elif event is Event.FIRST:
            self.first_ps[request] = time_ps
        elif event is Event.FINISH:
            self.last_ps[request] = time_ps

    def table(self, job: Job, sent_ps: list[int]) -> RequestTable:
        """Return the finished table; times in seconds."""
        return RequestTable(
            arrival_s=np.array(sent_ps, np.int64) / PS_PER_S,
            input_tokens=job.prompt,
            output_tokens=job.output,
            scheduled_s=_seconds(self.scheduled_ps),
            first_token_s=_seconds(self.first_ps),
            last_token_s=_seconds(self.last_ps),
            hit_tokens=np.array(self.hit_tokens, np.int64),
            preemptions=np.array(self.preemptions, np.int64),
            preempted_s=np.array(self.preempted_ps, np.int64) / PS_PER_S,
            energy_j=np.array(self.energy_j, np.float64),
            replica=np.zeros(len(sent_ps), np.int64),
            rejected=job.rejected,
        )


class LogRecord:
    """Events in their order."""

    def __init__(self) -> None:
        self._rows: list[tuple[int, int, int, int]] = []

    def note(self, event: Event, time_ps: int, request: int, value: int) -> None:
        """Take an event in."""
        self._rows.append((int(event), time_ps, request, value))

    def log(self) -> Log:
        """Return the log as arrays."""
        columns = np.array(self._rows, np.int64).reshape(-1, 4).T.copy()
        return Log(kind=columns[0], time_ps=columns[1], request=columns[2], value=columns[3])


class Sums:
    """Sums over the run, and integrals over its time in whole picoseconds."""

    def __init__(self) -> None:
        self.steps = 0
        self.busy_ps = 0
        self.energy_j = 0.0
        self.scheduled_tokens = 0
        self.hit_tokens = 0
        self.discarded_tokens = 0
        self.preemptions = 0
        self.admissions = 0
        self.running_ps = 0
        self.blocks_ps = 0
        self.peak_blocks = 0
        self.peak_running = 0
        self.loads = 0
        self.stalled_ps = 0

    def note(self, event: Event, value: int) -> None:
        """Take an event in."""
        if event is Event.ADMIT:
            self.admissions += 1
            self.hit_tokens += value
        elif event is Event.PREEMPT:
            self.preemptions += 1
            self.discarded_tokens += value
        elif event is Event.LOAD:
            self.loads += 1

    def pass_time(self, state: State, time_ps: int) -> None:
        """Add a time in which nothing changed."""
        self.running_ps += state.running * time_ps
        self.blocks_ps += state.blocks * time_ps

    def peak(self, running: int, blocks: int) -> None:
        """Take the state after a decision in."""
        self.peak_blocks = max(self.peak_blocks, blocks)
        self.peak_running = max(self.peak_running, running)

    def step(self, entries: list[Entry], time_ps: int, energy_j: float) -> None:
        """Add a step."""
        self.steps += 1
        self.busy_ps += time_ps
        self.energy_j += energy_j
        for entry in entries:
            rejected = entry.drafts + 1 - entry.emitted if entry.drafts else 0
            self.scheduled_tokens += entry.tokens - rejected

    def totals(self, end_ps: int, idle_j: float, tiers: Iterable[HostTier]) -> RunTotals:
        """Return the sums; times in seconds."""
        tiers = list(tiers)
        return RunTotals(
            steps=self.steps,
            busy_s=self.busy_ps / PS_PER_S,
            end_s=end_ps / PS_PER_S,
            scheduled_tokens=self.scheduled_tokens,
            hit_tokens=self.hit_tokens,
            discarded_tokens=self.discarded_tokens,
            preemptions=self.preemptions,
            admissions=self.admissions,
            energy_j=self.energy_j + idle_j,
            running_s=self.running_ps / PS_PER_S,
            blocks_s=self.blocks_ps / PS_PER_S,
            peak_blocks=self.peak_blocks,
            peak_running=self.peak_running,
            loads=self.loads,
            loaded_blocks=sum(tier.loaded for tier in tiers),
            stored_blocks=sum(tier.stored for tier in tiers),
            load_s=sum(tier.load_ps for tier in tiers) / PS_PER_S,
            stalled_s=self.stalled_ps / PS_PER_S,
        )


class Samples:
    """States at equally spaced times.

    Parameters
    ----------
    every_ps : int
        0: no samples.
    """

    def __init__(self, every_ps: int) -> None:
        self._every_ps = every_ps
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._prompt_tokens = 0
        self._output_tokens = 0

    @property
    def next_ps(self) -> int | None:
        """Time of the next sample; None where none are wanted."""
        return (len(self._rows) + 1) * self._every_ps if self._every_ps else None

    def tokens(self, *, prompt: int = 0, output: int = 0) -> None:
        """Add tokens to the interval that ends with the next sample."""
        self._prompt_tokens += prompt
        self._output_tokens += output

    def take(self, state: State) -> None:
        """Take the next sample."""
        counts = (self._prompt_tokens, self._output_tokens)
        self._rows.append((state.running, state.waiting, state.blocks, *counts))
        self._prompt_tokens = self._output_tokens = 0

    def timeline(self) -> Timeline | None:
        """Return the samples; None where none were wanted."""
        if not self._every_ps:
            return None
        columns = np.array(self._rows, np.float64).reshape(-1, 5).T.copy()
        number = np.arange(1, columns.shape[1] + 1)
        return Timeline(
            time_s=number * self._every_ps / PS_PER_S,
            running=columns[0],
            waiting=columns[1],
            blocks=columns[2],
            prompt_tokens=columns[3],
            output_tokens=columns[4],
        )


def _seconds(times_ps: list[int | None]) -> Floats:
    """Seconds; nan for what never happened."""
    return np.array([nan if ps is None else ps / PS_PER_S for ps in times_ps], np.float64)
