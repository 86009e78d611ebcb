"""A deployment with prefill on replicas of its own, from placements to a run."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tapeout.constants import MILLI
from tapeout.errors import InfeasibleError
from tapeout.fabric import transfer_s
from tapeout.perf import Placement, in_words, kv_per_chip_bytes
from tapeout.serving.engine.defaults import EngineSetup
from tapeout.serving.engine.disaggregated import (
    Pool,
    Split,
    SplitRun,
    Watch,
    run_disaggregated,
)
from tapeout.serving.engine.handover import LATENCY_S, Link
from tapeout.serving.engine.types import Simulation
from tapeout.serving.replicas import Task
from tapeout.serving.traffic import Trace
from tapeout.serving.types import Deployment

MUCH_PINNED = 0.1  # share of a prefill cache from which the approximation should be known


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """Prefill on replicas of its own, beside a deployment that decodes.

    Attributes
    ----------
    prefill : Deployment
    layered : bool
        Layers are sent as they are computed.
    stream_first : bool
        The prefill replica's token goes to the client.
    latency_s : float
        Of a hand-over. [s]
    """

    prefill: Deployment
    layered: bool = False
    stream_first: bool = False
    latency_s: float = LATENCY_S

    @property
    def chips(self) -> int:
        """Chips of the prefill pool."""
        return self.prefill.placement.chips * self.prefill.replicas


def link_between(
    prefill: Placement,
    decode: Placement,
    *,
    longest: int,
    layered: bool = False,
    latency_s: float = LATENCY_S,
) -> Link:
    """Link between replicas: every chip sends or takes its part over its own network port.

    Parameters
    ----------
    prefill, decode : Placement
        Of one model. The cache travels in the prefill side's format; a latent (MLA) as it is, to
        every tensor rank.
    longest : int
        Tokens of the longest prompt: what does not grow up to there counts as fixed.
    layered : bool
    latency_s : float

    Raises
    ------
    InfeasibleError
        Different models.
    """
    if prefill.architecture.name != decode.architecture.name:
        raise InfeasibleError("prefill and decode must run the same model")
    kv = prefill.formats.kv
    taken = replace(decode, formats=replace(decode.formats, kv=kv))
    half, whole = max(longest / 2.0, 1.0), float(max(longest, 2))
    low_s, high_s = (
        float(
            transfer_s(
                prefill.system,
                float(kv_per_chip_bytes(prefill, tokens)),
                decode.system,
                float(kv_per_chip_bytes(taken, tokens)),
            )
        )
        for tokens in (half, whole)
    )
    token_s = (high_s - low_s) / (whole - half)
    return Link(
        token_s=token_s,
        fixed_s=max(high_s - token_s * whole, 0.0),
        latency_s=latency_s,
        layers=len(prefill.architecture.layers),
        layered=layered,
    )


def run_apart(
    trace: Trace, task: Task, apart: Apart, ready: EngineSetup, decode: Placement
) -> tuple[Simulation, tuple[str, ...]]:
    """Run a trace with prefill apart.

    Parameters
    ----------
    trace : Trace
    task : Task
        Of the decode pool.
    apart : Apart
    ready : EngineSetup
        Of the prefill pool.
    decode : Placement

    Returns
    -------
    (Simulation, tuple of str)
        Both pools as one, and what to know of the prefill pool and the transfers.

    Raises
    ------
    InfeasibleError
        A closed loop, or turns that wait for an answer.
    """
    if task.in_flight:
        raise InfeasibleError(
            "a closed loop cannot be simulated with prefill apart: give --rate instead"
        )
    link = link_between(
        apart.prefill.placement,
        decode,
        longest=int(trace.input_tokens.max()),
        layered=apart.layered,
        latency_s=apart.latency_s,
    )
    split = Split(
        prefill=Pool(
            rules=replace(ready.rules, drafts=0, acceptance=()),
            table=ready.table,
            replicas=apart.prefill.replicas,
        ),
        decode=Pool(rules=task.rules, table=task.table, replicas=task.replicas),
        link=link,
        stream_first=apart.stream_first,
    )
    watch = Watch(
        samples_s=task.samples_s,
        log=task.log,
        gaps_from_s=task.gaps_from_s,
        runner=task.runner,
    )
    run = run_disaggregated(trace, split, front=task.front, watch=watch)
    task.tell("simulate", 1.0)
    return run.simulation, _notes(apart, ready, run)


def _notes(apart: Apart, ready: EngineSetup, run: SplitRun) -> tuple[str, ...]:
    place, count = apart.prefill.placement, apart.prefill.replicas
    moved_s = run.transfers.end_s - run.transfers.start_s
    moved_s = moved_s[np.isfinite(moved_s)]
    mean_ms = float(moved_s.mean()) / MILLI if moved_s.size else 0.0
    found = [
        f"prefill apart: {count} x {place.system.chip.name}, {in_words(place)}, "
        f"{apart.chips} of the chips",
        f"keys move in {mean_ms:.3g} ms on average once their link is free",
        "cache and limits shown are the decode pool's; figures per chip count all chips",
        *(f"prefill: {note}" for note in ready.notes),
    ]
    pinned = run.transfers.pinned_blocks
    if pinned > MUCH_PINNED * ready.rules.kv_blocks:
        found.append(
            f"{pinned:,.0f} prefill blocks on average wait for their keys to leave; they are taken "
            "off the cache as a constant, which is rough"
        )
    return tuple(found)
