"""From the arrays of a finished run to tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.serving.engine import state as at
from tapeout.serving.engine.arrays import Arrays, turns
from tapeout.serving.engine.gaps import Gaps
from tapeout.serving.engine.job import Job
from tapeout.serving.engine.types import (
    PS_PER_S,
    Log,
    RequestTable,
    RunTotals,
    Simulation,
    StepTable,
    Timeline,
)


def outcome(
    job: Job,
    held: Arrays,
    tables: Sequence[StepTable],
    samples_s: float,
    paid_ps: Ints | None = None,
) -> Simulation:
    """Tables of a run that has ended.

    Parameters
    ----------
    job : Job
    held : Arrays
    tables : sequence of StepTable
        One for each kind of replica.
    samples_s : float
    paid_ps : array of int, shape (replica,), optional
        Time for which a replica was there; idle power counts in it. Default: the whole run.

    Raises
    ------
    InfeasibleError
        The timeline was too short for the run, or the run too long for the clock.
    """
    if bool((held.core.g[at.BUSY] < 0).any()) or bool((held.core.r[at.LAST] < -1).any()):
        raise InfeasibleError(  # sums of 64 bits wrapped around
            f"the run lasts longer than the clock counts, {2**63 / PS_PER_S:.4g} s; give fewer"
            " requests or a faster deployment"
        )
    end_ps = int(held.core.g[at.END].max(initial=0))
    timeline = _timeline(held, samples_s, end_ps) if samples_s > 0.0 else None
    log = held.record.log
    count = int(held.record.counts[at.LOGGED])
    return Simulation(
        requests=_requests(job, held),
        totals=_totals(held, tables, end_ps, paid_ps),
        timeline=timeline,
        log=None
        if log.shape[1] == 0
        else Log(
            kind=log[0, :count],
            time_ps=log[1, :count],
            request=log[2, :count],
            value=log[3, :count],
        ),
        gaps=Gaps(counts=held.record.gaps) if held.record.gaps.size else None,
    )


def _requests(job: Job, held: Arrays) -> RequestTable:
    r = held.core.r

    def seconds(place: int) -> Floats:
        return np.where(r[place] < 0, np.nan, r[place] / PS_PER_S)

    arrival, late = r[at.ARRIVAL], job.rejected.astype(bool)
    if late.any():
        after = turns(job)
        late &= after.parent >= 0  # sent, and refused, when the turn before it has ended
        arrival[late] = np.maximum(arrival[late], (r[at.LAST, after.parent] + after.think)[late])
    rank = np.maximum(r[at.RANK], 0)
    return RequestTable(
        arrival_s=arrival / PS_PER_S,
        input_tokens=job.prompt,
        output_tokens=job.output,
        scheduled_s=seconds(at.SCHEDULED),
        first_token_s=seconds(at.FIRST),
        last_token_s=seconds(at.LAST),
        hit_tokens=r[at.HIT],
        preemptions=r[at.PREEMPTS],
        preempted_s=r[at.WAITED] / PS_PER_S,
        energy_j=held.record.joules,
        replica=np.searchsorted(held.core.g[at.FIRST_RANK], rank, side="right") - 1,
        rejected=job.rejected | (r[at.RANK] < -1),
    )


def _totals(
    held: Arrays, tables: Sequence[StepTable], end_ps: int, paid_ps: Ints | None
) -> RunTotals:
    g = held.core.g
    real = held.record.real.sum(axis=0)
    idle_w = np.array([one.idle_w for one in tables])[g[at.KIND]]
    there_ps = end_ps if paid_ps is None else paid_ps
    idle_ps = np.maximum(there_ps - g[at.BUSY], 0)

    def total(place: int) -> int:
        return int(g[place].sum())

    return RunTotals(
        steps=total(at.STEPS),
        busy_s=float(g[at.BUSY].sum()) / PS_PER_S,
        end_s=end_ps / PS_PER_S,
        scheduled_tokens=total(at.DONE_TOKENS),
        hit_tokens=total(at.HITS),
        discarded_tokens=total(at.DISCARDED),
        preemptions=total(at.PREEMPTED),
        admissions=total(at.ADMITTED),
        energy_j=float(real[at.JOULES] + (idle_w * idle_ps).sum() / PS_PER_S),
        running_s=float(real[at.RUNNING_PS]) / PS_PER_S,
        blocks_s=float(real[at.BLOCKS_PS]) / PS_PER_S,
        peak_blocks=total(at.PEAK_BLOCKS),
        peak_running=total(at.PEAK_RUNNING),
        loads=total(at.LOADS),
        loaded_blocks=total(at.BLOCKS_IN),
        stored_blocks=total(at.BLOCKS_OUT),
        load_s=total(at.LOADING) / PS_PER_S,
        stalled_s=total(at.STALLED) / PS_PER_S,
    )


def _timeline(held: Arrays, samples_s: float, end_ps: int) -> Timeline:
    every = int(held.record.counts[at.EVERY])
    count = max(-(-end_ps // every), 1)
    rows = held.record.samples
    if count > rows.shape[0] or int(held.record.counts[at.LOST]):
        raise InfeasibleError(
            f"the run lasts {end_ps / PS_PER_S:.0f} s, too long for a timeline of {samples_s:g} s; "
            "sample less often"
        )
    return Timeline(
        time_s=np.arange(1.0, count + 1.0) * samples_s,
        running=rows[:count, at.T_RUNNING],
        waiting=rows[:count, at.T_WAITING],
        blocks=rows[:count, at.T_BLOCKS],
        prompt_tokens=rows[:count, at.T_PROMPT],
        output_tokens=rows[:count, at.T_OUTPUT],
    )
