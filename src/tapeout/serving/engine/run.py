"""Run one engine replica through a trace, compiled."""

from __future__ import annotations

import numpy as np

from tapeout.serving.engine import state as at
from tapeout.serving.engine.arrays import Watch, build
from tapeout.serving.engine.job import Job
from tapeout.serving.engine.outcome import outcome
from tapeout.serving.engine.types import Rules, Simulation, StepTable

EVENTS = 4  # of a request, unless it is preempted


def run_engine(
    job: Job,
    rules: Rules,
    table: StepTable,
    *,
    samples_s: float = 0.0,
    log: bool = False,
    jump: bool = True,
) -> Simulation:
    """Run a job through one replica.

    Parameters
    ----------
    job : Job
    rules : Rules
    table : StepTable
    samples_s : float
        Interval of the timeline; 0: none. [s]
    log : bool
        Keep every admission, preemption, first and last token.
    jump : bool
        False takes every decode step on its own, with the same result; for tests.

    Raises
    ------
    InfeasibleError
        Rules that no engine has, or a timeline of too many samples.
    """
    from tapeout.serving.engine import _kernels as kernels  # noqa: PLC0415 - loads the compiler

    events = EVENTS * job.prompt.size + 2 if log else 0
    while True:
        watch = Watch(samples_s=samples_s, log_events=events, jump=jump)
        held = build(job, [rules], [table], np.zeros(1, np.int64), watch)
        kernels.run(*held)
        logged = int(held.record.counts[at.LOGGED])
        if not log or logged <= events:
            return outcome(job, held, [table], samples_s)
        events = logged  # preemptions made more events than there was room for
