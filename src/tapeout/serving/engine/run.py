"""Run one engine replica through a trace, compiled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tapeout.serving.engine import state as at
from tapeout.serving.engine.arrays import Arrays, Watch, build, check
from tapeout.serving.engine.job import Job
from tapeout.serving.engine.outcome import outcome
from tapeout.serving.engine.types import Rules, Simulation, StepTable

EVENTS = 4  # of a request, unless it is preempted


def run_engine(  # noqa: PLR0913  all but the first three have names and defaults
    job: Job,
    rules: Rules,
    table: StepTable,
    *,
    samples_s: float = 0.0,
    log: bool = False,
    jump: bool = True,
    gaps_from_s: float | None = None,
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
    gaps_from_s : float, optional
        Count the gaps between tokens that end from this time on; default: none. [s]

    Raises
    ------
    InfeasibleError
        Rules that no engine has, or a timeline of too many samples.
    """
    check(rules)
    watch = Watch(samples_s=samples_s, jump=jump, gaps_from_s=gaps_from_s)
    plain = rules.prefix_cache and not job.ids.size and not rules.host_blocks
    if plain:  # only a preempted request could find blocks: its own
        without = replace(rules, prefix_cache=False)
        held = _run(job, without, table, watch, log=log, bold=True)
        if not int(held.core.g[at.PREEMPTED, 0]):
            return outcome(job, held, [table], samples_s)
    held = _run(job, rules, table, watch, log=log)
    return outcome(job, held, [table], samples_s)


def _run(
    job: Job, rules: Rules, table: StepTable, watch: Watch, *, log: bool, bold: bool = False
) -> Arrays:
    """Run once, or again with room for all events of the log; bold: give up at a preemption."""
    from tapeout.serving.engine import _kernels as kernels  # noqa: PLC0415 - loads the compiler

    events = EVENTS * job.prompt.size + 2 if log else 0
    while True:
        asked = watch._replace(log_events=events)
        held = build(job, [rules], [table], np.zeros(1, np.int64), asked)
        held.record.counts[at.GIVE_UP] = int(bold)
        kernels.run(*held)
        logged = int(held.record.counts[at.LOGGED])
        if not log or logged <= events:
            return held
        events = logged  # preemptions made more events than there was room for
