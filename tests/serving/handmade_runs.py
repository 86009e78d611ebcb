"""Runs made by hand: requests through a row of servers, as a `Simulation` with log and timeline.

Not a serving engine: every server serves one request at a time, so that what the metrics should be
follows from queueing theory or from a line of arithmetic.
"""

import heapq
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from tapeout.chip import ChipSpec
from tapeout.fabric import System
from tapeout.perf import Placement
from tapeout.serving.engine.types import (
    PS_PER_S,
    Event,
    Log,
    RequestTable,
    Rules,
    RunTotals,
    Simulation,
    Timeline,
)
from tapeout.serving.metrics import Setting, summarise
from tapeout.serving.simulate import SimulationResult, Timing
from tapeout.serving.traffic import Trace
from tapeout.serving.types import Deployment
from tapeout.workload import TensorFormats, load_model

BLOCKS = 1000
CHIP = ChipSpec(
    name="Plain chip",
    peak_flop_per_s={"bf16": 1e15},
    memory_bytes=80e9,
    memory_bytes_per_s=3e12,
    cores=132,
    l2_bytes=5e7,
    links=(),
    tdp_w=700.0,
    process_nm=4.0,
    memory_kind="HBM3",
)
HELD = 4  # blocks of a request in service


def table(arrival_s, scheduled_s, first_s, last_s, **changes):
    """A request table; other columns are plain unless given."""
    count = len(arrival_s)
    columns = {
        "arrival_s": np.asarray(arrival_s, float),
        "input_tokens": np.full(count, 100),
        "output_tokens": np.full(count, 11),
        "scheduled_s": np.asarray(scheduled_s, float),
        "first_token_s": np.asarray(first_s, float),
        "last_token_s": np.asarray(last_s, float),
        "hit_tokens": np.zeros(count, np.int64),
        "preemptions": np.zeros(count, np.int64),
        "preempted_s": np.zeros(count),
        "energy_j": np.ones(count),
        "replica": np.zeros(count, np.int64),
        "rejected": np.zeros(count, np.int64),
    }
    return RequestTable(**columns | {name: np.asarray(one) for name, one in changes.items()})


def run_of(requests, **changes):
    """A run around a request table, its sums taken from it."""
    served = np.isfinite(requests.last_token_s)
    sojourn = (requests.last_token_s - requests.scheduled_s - requests.preempted_s)[served]
    last = requests.last_token_s[served]
    totals = {
        "steps": 1,
        "busy_s": 0.5 * float(last.max(initial=0.0)),
        "end_s": float(last.max(initial=0.0)),
        "scheduled_tokens": 0,
        "hit_tokens": int(requests.hit_tokens.sum()),
        "discarded_tokens": 0,
        "preemptions": int(requests.preemptions.sum()),
        "admissions": int(served.sum()),
        "energy_j": float(requests.energy_j[served].sum()),
        "running_s": float(sojourn.sum()),
        "blocks_s": HELD * float(sojourn.sum()),
        "peak_blocks": 10 * HELD,
        "peak_running": 10,
    }
    return Simulation(requests=requests, totals=RunTotals(**totals | changes))


def queue_run(*, count=2000, rate=8.0, servers=10, seed=0, exponential=False):
    """Poisson arrivals, first come first served by `servers`, about 1 s each; with log."""
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1.0 / rate, count))
    work = rng.exponential(1.0, count) if exponential else np.full(count, 1.0)
    free = [0.0] * servers
    heapq.heapify(free)
    scheduled = np.empty(count)
    for one in range(count):
        scheduled[one] = max(arrival[one], heapq.heappop(free))
        heapq.heappush(free, scheduled[one] + work[one])
    first, last = scheduled + 0.2 * work, scheduled + work
    preempted = np.zeros(count, np.int64)
    preempted[::50] = 1
    requests = table(
        arrival,
        scheduled,
        first,
        last,
        preemptions=preempted,
        preempted_s=np.where(preempted, 0.25 * work, 0.0),
        hit_tokens=np.full(count, 16),
    )
    found = run_of(requests)
    return replace(found, log=_log(requests, work), timeline=timeline_of(requests))


def _log(requests, work):
    events = []
    for one in range(requests.arrival_s.size):
        start, first, last = (
            float(values[one])
            for values in (requests.scheduled_s, requests.first_token_s, requests.last_token_s)
        )
        events += [(start, Event.ADMIT, one), (first, Event.FIRST, one), (last, Event.FINISH, one)]
        if requests.preemptions[one]:
            middle = start + 0.5 * work[one]
            events += [(middle, Event.PREEMPT, one), (middle + 0.25 * work[one], Event.ADMIT, one)]
    events.sort(key=lambda one: one[0])
    return Log(
        kind=np.array([int(one[1]) for one in events]),
        time_ps=np.array([round(one[0] * PS_PER_S) for one in events]),
        request=np.array([one[2] for one in events]),
        value=np.zeros(len(events), np.int64),
    )


def timeline_of(requests, samples=200):
    """States at equally spaced times."""
    end = float(np.nanmax(requests.last_token_s))
    at = np.linspace(end / samples, end, samples)
    counts = [
        np.searchsorted(np.sort(values[np.isfinite(values)]), at, "right")
        for values in (requests.arrival_s, requests.scheduled_s, requests.last_token_s)
    ]
    running = (counts[1] - counts[2]).astype(float)
    return Timeline(
        time_s=at,
        running=running,
        waiting=(counts[0] - counts[1]).astype(float),
        blocks=HELD * running,
        prompt_tokens=np.diff(counts[1], prepend=0) * 100.0,
        output_tokens=np.diff(counts[2], prepend=0) * 11.0,
    )


def result_of(run, trace=None, **changes):
    """A result around a run of Llama-3.1-8B on one plain chip, with stand-in settings."""
    requests = run.requests
    trace = trace or Trace(
        arrival_s=requests.arrival_s,
        input_tokens=requests.input_tokens,
        output_tokens=requests.output_tokens,
        source="made by hand <b>",
    )
    place = Placement(
        architecture=load_model("llama-3.1-8b"),
        system=System(chip=CHIP, chips_per_domain=8, domains=1),
        formats=TensorFormats(weight="bf16", activation="bf16", kv="bf16"),
    )
    deployment = Deployment(placement=place)
    setup = SimpleNamespace(
        rules=Rules(token_budget=8192, max_sequences=256, kv_blocks=BLOCKS),
        notes=("cache assumed <i>",),
        table=None,
        kv=SimpleNamespace(blocks=BLOCKS, low=900, high=1100, source="by hand"),
        host=None,
    )
    setting = Setting(
        chips=1,
        blocks=BLOCKS,
        slo_class=trace.slo_class,
        classes=trace.classes,
        **changes,
    )
    return SimulationResult(
        deployment=deployment,
        trace=trace,
        setup=setup,
        simulation=run,
        summary=summarise(run, setting),
        setting=setting,
        timing=Timing(name="made by hand", log_sd=0.1),
        seed=0,
    )
