"""One trace through a deployment: settings of the engine, the run, and what it amounts to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tapeout.constants import Z80
from tapeout.errors import InfeasibleError
from tapeout.perf import PhysicalModel, TimingModel, in_words, step_mix
from tapeout.serving.engine.job import Front
from tapeout.serving.engine.types import PS_PER_S, Simulation, StepTable
from tapeout.serving.hosting import HostUse, host_use
from tapeout.serving.many import Asked, ClusterSummary, Many
from tapeout.serving.metrics import Setting, check_setting, met_objective, summarise
from tapeout.serving.objectives import Flags, Objective
from tapeout.serving.replicas import Fleet, Runner, Task, run_split, silent
from tapeout.serving.summary import Summary
from tapeout.serving.types import Deployment

if TYPE_CHECKING:
    from tapeout.serving.apart import Apart
    from tapeout.serving.engine.defaults import EngineSetup
    from tapeout.serving.traffic import Trace

SAMPLES = 600  # of a timeline, where the load can be served
AUTO = -1.0  # a timeline of about `SAMPLES` points
SEMANTICS = {
    "vllm-v1": "vLLM V1, as of 0.19",
    "vllm-v0": "vLLM V0, as of 0.6",
    "sarathi": "Sarathi-Serve, OSDI 2024, as in vidur",
    "orca": "Orca, OSDI 2022",
    "static": "static batches",
    "sglang": "SGLang, commits in docs/simulate.md",
}
_TYPICAL = 16.0  # sequences of the step whose timing error is quoted; it hardly depends on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to run and what to keep.

    Attributes
    ----------
    in_flight : int
        Requests in flight of a closed loop, all replicas together; 0: arrivals of the trace.
    warm_up_s : float
        Left out of the figures at the beginning. [s]
    samples_s : float
        Interval of the timeline; 0: none; negative: about 600 over the run. [s]
    log : bool
        Keep the events of every request.
    by_client : bool
        With several replicas: requests of a client go to one of them.
    gaps : bool
        Count the gaps between tokens that end after the warm-up, for the percentiles of ITL;
        costs a tenth of the speed.
    runner : Runner, optional
        Of one replica; default: the compiled engine.
    fleet : Fleet
        How replicas share the trace where no `cluster` is asked for.
    cluster : Asked, optional
        Router, scaling, failures, admission, other kinds. `runner` counts for nothing then.
    adjust : callable, optional
        Changes the step table and the time before the scheduler, as a calibration does.
    apart : Apart, optional
        Prefill on replicas of its own; the deployment decodes.
    notes : tuple of str
        Put before those of the setup: what the reader of the trace had to say.
    tell : callable
        Gets a stage ("setup", "simulate", "measure") and the share of it that is done.
    """

    in_flight: int = 0
    warm_up_s: float = 0.0
    samples_s: float = 0.0
    log: bool = False
    by_client: bool = False
    gaps: bool = True
    runner: Runner | None = None
    fleet: Fleet = run_split
    cluster: Asked | None = None
    adjust: Callable[[StepTable, Front], tuple[StepTable, Front]] | None = None
    apart: Apart | None = None
    notes: tuple[str, ...] = ()
    tell: Callable[[str, float], None] = silent


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The timing model behind the steps, and its error as the sd of the log of a step's time."""

    name: str
    log_sd: float

    @property
    def band_factor(self) -> float:
        """Half width of the 80 % band of a step's time, as a factor."""
        return math.exp(Z80 * self.log_sd)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationResult:
    """A run with everything that explains it.

    Attributes
    ----------
    deployment : Deployment
    trace : Trace
    setup : EngineSetup
        Rules, step table, cache capacity and notes.
    simulation : Simulation
        What became of every request.
    summary : Summary
    setting : Setting
        What the summary was measured against.
    timing : Timing
    seed : int
    cluster : ClusterSummary, optional
    """

    deployment: Deployment
    trace: Trace
    setup: EngineSetup
    simulation: Simulation
    summary: Summary
    setting: Setting
    timing: Timing
    seed: int
    cluster: ClusterSummary | None = None

    @property
    def met(self) -> Flags:
        """Which requests met every limit, shape (request,)."""
        return met_objective(self.simulation.requests, self.setting)

    def to_dict(self) -> dict[str, Any]:
        """What was simulated, and its summary, in SI units and ready for JSON."""
        place, rules, kv = self.deployment.placement, self.setup.rules, self.setup.kv
        return {
            "model": place.architecture.name,
            "chip": place.system.chip.name,
            "placement": in_words(place),
            "replicas": self.deployment.replicas,
            "policy": self.deployment.policy.name,
            "semantics": SEMANTICS.get(self.deployment.policy.name, ""),
            "token_budget": rules.token_budget,
            "max_sequences": rules.max_sequences,
            "block_tokens": rules.block_tokens,
            "ranks": rules.ranks,
            "prefix_cache": rules.prefix_cache,
            "async_depth": rules.async_depth,
            "max_model_len": rules.longest,
            "gpu_memory_utilization": self.memory_fraction,
            "kv_format": place.formats.kv,
            "kv_blocks": {
                "usable": kv.blocks,
                "low": kv.low,
                "high": kv.high,
                "source": kv.source,
            },
            "timing_model": self.timing.name,
            "timing_log_sd": self.timing.log_sd,
            "timing_band_80_factor": self.timing.band_factor,
            "traffic": self.trace.source,
            "in_flight": self.setting.in_flight,
            "seed": self.seed,
            "slo": self.setting.objective.words,
            "notes": list(self.setup.notes),
            "host_cache": None if self.host is None else self.host.to_dict(),
            "cluster": None if self.cluster is None else self.cluster.to_dict(),
        } | self.summary.to_dict()

    @property
    def host(self) -> HostUse | None:
        """What the tier in host memory did; None without one."""
        if self.setup.host is None:
            return None
        return host_use(self.simulation.totals, self.setup.host, self.setup.rules.block_tokens)

    @property
    def memory_fraction(self) -> float:
        """Share of the memory that an engine takes."""
        from tapeout.serving.engine.defaults import memory_fraction  # noqa: PLC0415 - a cycle

        return memory_fraction(self.deployment)

    @property
    def blocks(self) -> int:
        """Usable cache blocks of all ranks of all replicas."""
        return self.setting.blocks


def simulate(
    deployment: Deployment,
    trace: Trace,
    *,
    model: TimingModel | None = None,
    seed: int = 0,
    objective: Objective | None = None,
    options: Options | None = None,
) -> SimulationResult:
    """Run a trace through a deployment.

    Parameters
    ----------
    deployment : Deployment
    trace : Trace
    model : TimingModel, optional
        Default: the physical model.
    seed : int
        Of what the engine draws: which drafts are accepted. Arrivals and lengths are the trace's.
    objective : Objective, optional
        Limits for attainment and goodput.
    options : Options, optional

    Returns
    -------
    SimulationResult

    Raises
    ------
    DoesNotFitError
        Weights and buffers leave no room for a cache.
    InfeasibleError
        An empty trace, no replica, or fewer requests in flight than replicas.
    ProblemsError
        A limit names a class that the trace does not have.
    """
    chosen = options or Options()
    _check(deployment, trace, chosen)
    timing_model = model or PhysicalModel()
    setup, front = _setup(deployment, timing_model, chosen)
    rules = replace(setup.rules, seed=setup.rules.seed + seed) if seed else setup.rules
    task = Task(
        rules=rules,
        table=setup.table,
        runner=chosen.runner or _engine(),
        front=front,
        replicas=deployment.replicas,
        by_client=chosen.by_client,
        in_flight=chosen.in_flight,
        samples_s=_samples_s(trace, setup, deployment.replicas)
        if chosen.samples_s < 0.0
        else chosen.samples_s,
        log=chosen.log,
        gaps_from_s=chosen.warm_up_s if chosen.gaps else None,
        tell=chosen.tell,
    )
    aim = objective or Objective()
    pools = _Pools.of(chosen, timing_model)
    many = _many(trace, task, chosen, (deployment, timing_model), aim)
    setting = _setting(task, (deployment, pools), trace, aim, chosen.warm_up_s)
    if many is not None:
        setting = many.setting(setting)
    check_setting(setting)
    chosen.tell("simulate", 0.0)
    simulation, said = pools.run(trace, task, deployment) if many is None else (many.run(), ())
    chosen.tell("measure", 0.0)
    return SimulationResult(
        deployment=deployment,
        trace=trace,
        setup=replace(setup, notes=(*said, *setup.notes)),
        simulation=simulation,
        summary=summarise(simulation, setting),
        setting=setting,
        timing=_timing(timing_model, deployment, trace),
        seed=seed,
        cluster=None if many is None else many.summary(setting),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pools:
    """What prefills: the deployment itself, or replicas beside it."""

    fleet: Fleet
    apart: Apart | None = None
    ready: EngineSetup | None = None

    @classmethod
    def of(cls, options: Options, model: TimingModel) -> _Pools:
        """Set the prefill pool up, where there is one."""
        if options.apart is None:
            return cls(fleet=options.fleet)
        ready, _ = _setup(options.apart.prefill, model, replace(options, notes=()))
        return cls(fleet=options.fleet, apart=options.apart, ready=ready)

    @property
    def replicas(self) -> int:
        """Prefill replicas."""
        return 0 if self.apart is None else self.apart.prefill.replicas

    @property
    def chips(self) -> int:
        """Chips of them."""
        return 0 if self.apart is None else self.apart.chips

    @property
    def blocks(self) -> int:
        """Cache blocks of them."""
        if self.ready is None:
            return 0
        return self.ready.rules.kv_blocks * self.ready.rules.ranks * self.replicas

    def run(
        self, trace: Trace, task: Task, deployment: Deployment
    ) -> tuple[Simulation, tuple[str, ...]]:
        """Run the trace; what to know of the prefill pool."""
        if self.apart is None or self.ready is None:
            return self.fleet(trace, task), ()
        from tapeout.serving.apart import run_apart  # noqa: PLC0415  loads compiled code

        return run_apart(trace, task, self.apart, self.ready, deployment.placement)


def _setting(
    task: Task,
    served: tuple[Deployment, _Pools],
    trace: Trace,
    objective: Objective,
    warm_up_s: float,
) -> Setting:
    deployment, pools = served
    return Setting(
        chips=deployment.placement.chips * deployment.replicas + pools.chips,
        blocks=task.rules.kv_blocks * task.rules.ranks * deployment.replicas + pools.blocks,
        replicas=deployment.replicas + pools.replicas,
        objective=objective,
        warm_up_s=warm_up_s,
        in_flight=task.in_flight,
        slots=task.rules.max_sequences * task.rules.ranks * deployment.replicas,
        slo_class=trace.slo_class,
        classes=trace.classes if trace.slo_class is not None else (),
    )


def _many(
    trace: Trace,
    task: Task,
    options: Options,
    first: tuple[Deployment, TimingModel],
    objective: Objective,
) -> Many | None:
    """Cluster, where one is asked for."""
    if options.cluster is None:
        return None
    deployment, model = first
    others = []
    for one in options.cluster.others:
        # a calibration is of the first deployment alone
        setup, _ = _setup(one.deployment, model, replace(options, adjust=None))
        others.append((replace(setup.rules, seed=task.rules.seed), setup.table))
    return Many.of(options.cluster, trace, task, (deployment, others), objective)


def _check(deployment: Deployment, trace: Trace, options: Options) -> None:
    tier = deployment.host_cache is not None and deployment.host_cache.size_bytes > 0.0
    if tier and (options.apart is not None or options.cluster is not None):
        raise InfeasibleError(
            "a cache in host memory is not simulated behind a router or with a prefill pool of its"
            " own; leave one of them out"
        )
    if options.apart is not None and options.cluster is not None:
        raise InfeasibleError(
            "a prefill pool of its own is not routed yet; leave it or the router and what goes"
            " with it out"
        )
    if not trace.requests:
        raise InfeasibleError("the trace has no requests; nothing to simulate")
    if deployment.replicas < 1:
        raise InfeasibleError(f"{deployment.replicas} replicas; at least one must serve")


def _setup(
    deployment: Deployment, model: TimingModel, options: Options
) -> tuple[EngineSetup, Front]:
    """Settings, and the time before the scheduler, adjusted where that was asked for."""
    from tapeout.serving.engine.defaults import longest_of, setup  # noqa: PLC0415  builds tables

    options.tell("setup", 0.0)
    longest = longest_of(deployment)
    found, front = setup(deployment, model, longest_context=longest), deployment.front
    table = found.table
    if options.adjust is not None:
        table, front = options.adjust(table, front)
    notes = (*options.notes, *found.notes, *_length_notes(deployment, longest))
    found = replace(found, table=table, notes=notes)
    options.tell("setup", 1.0)
    return found, front


def _length_notes(deployment: Deployment, longest: int) -> Iterator[str]:
    """Where the longest sequence is from, unless it was given."""
    if deployment.max_model_len is not None:
        return
    model = deployment.placement.architecture
    known = model.max_context_tokens is not None
    source = f"the most that {model.name} takes" if known else "assumed, as the model names none"
    yield f"sequences up to {longest:,} tokens: {source}"


def _engine() -> Runner:
    from tapeout.serving.engine.run import run_engine  # noqa: PLC0415  loads compiled code

    return run_engine


def _samples_s(trace: Trace, setup: EngineSetup, replicas: int) -> float:
    """Interval that gives about `SAMPLES` points: of the arrivals, or of a busy engine. [s].

    What an engine cannot be faster than: every token in a full step.
    """
    tokens_ps, rules = setup.table.tokens_ps, setup.rules
    full, batch = tokens_ps.size - 1, min(rules.max_sequences, tokens_ps.size - 1)
    prompt_s = float(trace.input_tokens.sum()) / full * float(tokens_ps[full]) / PS_PER_S
    output_s = float(trace.output_tokens.sum()) / batch * float(tokens_ps[batch]) / PS_PER_S
    busy_s: float = (prompt_s + output_s) / (replicas * rules.ranks)
    last_s = float(trace.arrival_s.max())
    return max(last_s, busy_s, 1.0 / PS_PER_S) / SAMPLES


def _timing(model: TimingModel, deployment: Deployment, trace: Trace) -> Timing:
    context = float(np.mean(trace.input_tokens + trace.output_tokens / 2.0))
    cost = model.step_cost(deployment.placement, step_mix(decode=_TYPICAL, context=context))
    return Timing(name=model.name, log_sd=cost.log_sd)
