"""`validate trace`: a measured run, request by request, through the simulator.

The costs of a step come from the kernel profile in the folder of the run, or from our own timing
model. Nothing is fitted to the run unless it is asked for: the two constants of the exchange
around experts, which the profile of one GPU does not hold, from the first requests only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from tapeout.constants import MICRO, NANO
from tapeout.errors import (
    DoesNotFitError,
    InfeasibleError,
    Problem,
    ProblemsError,
    UnknownNameError,
)
from tapeout.fabric import System, usual_system
from tapeout.numerics import Floats, Ints
from tapeout.perf import MemorySettings, PhysicalModel, Placement
from tapeout.serving.engine.capacity import KvCapacity, given_capacity, kv_capacity
from tapeout.serving.engine.defaults import engine_defaults, setup
from tapeout.serving.engine.job import prepare
from tapeout.serving.engine.policies import Limits, VllmV1
from tapeout.serving.engine.profile import Profile, read_profile
from tapeout.serving.engine.profiled import (
    Exchange,
    ExtraExchange,
    expert_layers,
    profiled_table,
)
from tapeout.serving.engine.run import run_engine
from tapeout.serving.engine.types import PS_PER_S, Rules, Simulation, StepTable
from tapeout.serving.types import Deployment
from tapeout.serving.validation.chips import FindChip, find_chip
from tapeout.serving.validation.files import number_text
from tapeout.serving.validation.inputs import find_model
from tapeout.serving.validation.measured_run import MeasuredRun, RunSettings, read_run
from tapeout.workload import ModelArchitecture, TensorFormats

PROFILE, MODEL = "profile", "model"
COSTS = (PROFILE, MODEL)
SAMPLES_S = 1.0
STATISTICS = ("mean", "p50", "p90", "p95", "p99")
QUANTITIES = ("ttft_s", "tpot_s", "e2e_s")
FORMATS = {"auto": "bf16", "bfloat16": "bf16", "float16": "bf16", "half": "bf16"}
KV_FORMATS = {**FORMATS, "fp8": "fp8", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8"}
FIT_SCALE = (12.5, 25.0)
"""Microseconds a layer, and nanoseconds a layer and token: a cell of the grid that a fit starts
from. In these units the simplex sees both constants alike."""
FIT_CELLS = (12, 8)
FIT_STARTS = 8
FIT_RUNS = 120
FIT_TOLERANCE = 0.01
"""In cells of the grid: an eighth of a microsecond, a quarter of a nanosecond. The loss is held to
no tolerance, as it is a staircase: it repeats itself where no request changes its step."""
COLUMNS = (
    "request",
    "arrival_s",
    "input_tokens",
    "output_tokens",
    *(f"{kind}_{name}" for name in QUANTITIES for kind in ("measured", "simulated")),
    "hit_tokens",
    "preemptions",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How a run is replayed.

    Attributes
    ----------
    costs : str
        "profile", "model", or empty: the profile where the folder has one.
    blocks : int or None
        Cache blocks as vLLM prints them, instead of those of the folder.
    chip : str
        Instead of the one the folder names.
    fit_first : int
        Fit the exchange to so many requests, in order of arrival; 0: nothing is fitted.
    find : FindChip
    """

    costs: str = ""
    blocks: int | None = None
    chip: str = ""
    fit_first: int = 0
    find: FindChip = find_chip


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """One figure of the requests that are scored. [s]."""

    quantity: str
    statistic: str
    measured: float
    simulated: float

    @property
    def error(self) -> float:
        """Simulated over measured, less 1."""
        return self.simulated / self.measured - 1.0 if self.measured else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A run beside its simulation.

    Attributes
    ----------
    run : MeasuredRun
    simulation : Simulation
    costs : str
        Where step costs come from, in words.
    kv : KvCapacity
        Blocks of the run.
    predicted : KvCapacity or None
        What the capacity model says; None where it leaves no block.
    extra : ExtraExchange or None
        What was fitted.
    fitted_first : int
        Requests, in order of arrival, that it was fitted to; they are not scored.
    notes : tuple of str
    """

    run: MeasuredRun
    simulation: Simulation
    costs: str
    kv: KvCapacity
    predicted: KvCapacity | None = None
    extra: ExtraExchange | None = None
    fitted_first: int = 0
    notes: tuple[str, ...] = ()

    def statistics(self) -> tuple[Statistic, ...]:
        """Errors of the requests that nothing was fitted to."""
        measured, simulated = measured_times(self.run), simulated_times(self.simulation)
        return tuple(
            Statistic(
                quantity=name,
                statistic=statistic,
                measured=_figure(measured[name][self.fitted_first :], statistic),
                simulated=_figure(simulated[name][self.fitted_first :], statistic),
            )
            for name in QUANTITIES
            for statistic in STATISTICS
        )

    @property
    def simulated_stamps(self) -> int:
        """Distinct simulated times of first tokens."""
        first = self.simulation.requests.first_token_s
        return int(np.unique(first[np.isfinite(first)]).size)

    def curves(self) -> Mapping[str, tuple[Floats, Floats]]:
        """Running and waiting requests at the times of the series: measured, simulated."""
        line = self.simulation.timeline
        if line is None or not self.run.sampled_s.size:
            return {}
        at = self.run.sampled_s
        return {
            "running": (self.run.running, np.interp(at, line.time_s, line.running, right=0.0)),
            "waiting": (self.run.waiting, np.interp(at, line.time_s, line.waiting, right=0.0)),
        }

    def rows(self) -> list[Mapping[str, str]]:
        """One row a request, in order of arrival; columns `COLUMNS`."""
        measured, simulated = measured_times(self.run), simulated_times(self.simulation)
        trace, table = self.run.trace, self.simulation.requests
        found: list[Mapping[str, str]] = []
        for i, name in enumerate(self.run.names):
            times = {
                f"{kind}_{key}": _cell(float(values[key][i]))
                for kind, values in (("measured", measured), ("simulated", simulated))
                for key in QUANTITIES
            }
            found.append(
                {
                    "request": name,
                    "arrival_s": number_text(float(trace.arrival_s[i])),
                    "input_tokens": str(int(trace.input_tokens[i])),
                    "output_tokens": str(int(trace.output_tokens[i])),
                    **times,
                    "hit_tokens": str(int(table.hit_tokens[i])),
                    "preemptions": str(int(table.preemptions[i])),
                }
            )
        return found


def _cell(value: float) -> str:
    return number_text(value) if np.isfinite(value) else ""


def measured_times(run: MeasuredRun) -> Mapping[str, Floats]:
    """TTFT, TPOT (nan for one token) and end-to-end time of every request. [s]."""
    return _times(run.trace.arrival_s, run.first_s, run.last_s, run.trace.output_tokens)


def simulated_times(simulation: Simulation) -> Mapping[str, Floats]:
    """TTFT, TPOT (nan for one token) and end-to-end time of every request. [s]."""
    table = simulation.requests
    return _times(table.arrival_s, table.first_token_s, table.last_token_s, table.output_tokens)


def _times(arrival: Floats, first: Floats, last: Floats, tokens: Ints) -> Mapping[str, Floats]:
    gaps = tokens.astype(float) - 1.0
    tpot = np.divide(last - first, gaps, out=np.full_like(first, np.nan), where=gaps > 0.0)
    return {"ttft_s": first - arrival, "tpot_s": tpot, "e2e_s": last - arrival}


def _figure(values: Floats, statistic: str) -> float:
    known = values[np.isfinite(values)]
    if not known.size:
        return float("nan")
    if statistic == "mean":
        return float(known.mean())
    return float(np.percentile(known, float(statistic.removeprefix("p"))))


def replay(folder: Path, wanted: Wanted | None = None) -> Replay:
    """Replay the run of a folder.

    Parameters
    ----------
    folder : Path
        meta.json, workload.jsonl, requests.jsonl, timeseries.csv, and perhaps profile/.
    wanted : Wanted, optional

    Raises
    ------
    ProblemsError
        Everything that is wrong in the files, or that the simulator has no answer to.
    DoesNotFitError
        The weights leave no room for a cache block.
    """
    asked = wanted or Wanted()
    source = asked.costs or (PROFILE if (folder / "profile").is_dir() else MODEL)
    run, profile = _read(folder, needs_profile=source == PROFILE)
    case = _case(run, profile, asked)
    return _with_profile(case, asked, profile) if profile is not None else _with_model(case)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """A run with all that its settings name."""

    run: MeasuredRun
    placement: Placement
    token_budget: int
    max_sequences: int
    blocks: int | None  # as printed
    policy: VllmV1

    @property
    def longest_context(self) -> int:
        trace = self.run.trace
        return int((trace.input_tokens + trace.output_tokens).max())

    def limits(self, kv_blocks: int) -> Limits:
        return Limits(
            token_budget=self.token_budget,
            max_sequences=self.max_sequences,
            kv_blocks=kv_blocks,
            block_tokens=self.run.settings.block_tokens,
            ranks=self.placement.data_parallel,
        )

    def capacity(self) -> KvCapacity:
        """Blocks as given, else as predicted."""
        if self.blocks is None:
            return self._predicted()
        kept = given_capacity(self.blocks - 1, self.run.settings.block_tokens)
        return replace(kept, source="as printed by the engine")

    def predicted(self) -> KvCapacity | None:
        """Blocks by the capacity model."""
        try:
            return self._predicted()
        except DoesNotFitError:
            return None

    def _predicted(self) -> KvCapacity:
        return kv_capacity(
            self.placement,
            max_sequences=self.max_sequences,
            longest_context=self.longest_context,
            block_tokens=self.run.settings.block_tokens,
        )


def _read(folder: Path, *, needs_profile: bool) -> tuple[MeasuredRun, Profile | None]:
    """Read both, and tell the problems of both at once."""
    problems: list[Problem] = []
    run: MeasuredRun | None = None
    profile: Profile | None = None
    try:
        run = read_run(folder)
    except ProblemsError as error:
        problems.extend(error.problems)
    if needs_profile:
        try:
            profile = read_profile(folder / "profile")
        except ProblemsError as error:
            inside = (replace(one, path=f"profile/{one.path}") for one in error.problems)
            problems.extend(inside)
    if run is None or problems:
        raise ProblemsError(f"run {folder}", problems)
    return run, profile


def _case(run: MeasuredRun, profile: Profile | None, wanted: Wanted) -> _Case:
    """Look up what the settings name.

    Raises
    ------
    ProblemsError
        A model, chip, format or way of running that there is no answer to.
    """
    problems: list[Problem] = []
    settings = run.settings
    model = _found_model(settings.model, problems)
    system = _found_system(settings, profile, wanted, problems)
    formats = _found_formats(settings, problems)
    if model is not None:
        problems.extend(_unanswered(settings, model, profiled=profile is not None))
    if model is None or system is None or problems:
        raise ProblemsError("settings of the run", problems)
    usual = engine_defaults(system.chip)
    budget = settings.token_budget or usual.token_budget
    ranks = settings.data_parallel
    return _Case(
        run=run,
        placement=Placement(
            architecture=model,
            system=system,
            tensor_parallel=settings.tensor_parallel,
            data_parallel=ranks,
            expert_parallel=ranks * settings.tensor_parallel if settings.expert_parallel else 1,
            formats=formats,
            stack="vllm",
            memory=MemorySettings(usable_fraction=settings.memory_fraction, token_budget=budget),
        ),
        token_budget=budget,
        max_sequences=settings.max_sequences or usual.max_sequences,
        blocks=wanted.blocks if wanted.blocks is not None else settings.printed_blocks,
        policy=VllmV1(
            prefix_cache=settings.prefix_cache,
            reserve_prompt=settings.reserve_prompt,
            longest_chunk=settings.longest_chunk,
            async_depth=int(settings.async_scheduling),
        ),
    )


def _found_model(name: str, problems: list[Problem]) -> ModelArchitecture | None:
    try:
        return find_model(name)[1]
    except UnknownNameError as error:
        problems.append(Problem(path="meta.json.model", value=name[:80], message=str(error)))
        return None


def _found_system(
    settings: RunSettings, profile: Profile | None, wanted: Wanted, problems: list[Problem]
) -> System | None:
    name = wanted.chip or settings.gpu or (profile.gpu if profile else "")
    try:
        return usual_system(wanted.find(name))
    except (UnknownNameError, InfeasibleError) as error:
        problems.append(
            Problem(
                path="meta.json.hardware.device_name",
                value=name[:80],
                message=str(error),
                remedy="name a chip of the catalogue with --chip",
            )
        )
        return None


def _found_formats(settings: RunSettings, problems: list[Problem]) -> TensorFormats:
    weight = FORMATS.get(settings.dtype)
    kv = KV_FORMATS.get(settings.kv_dtype)
    for key, value, known in (
        ("dtype", settings.dtype, weight),
        ("kv_cache_dtype", settings.kv_dtype, kv),
    ):
        if known is None:
            problems.append(
                Problem(
                    path=f"meta.json.engine_kwargs.{key}",
                    value=value[:40],
                    message="is a format that replays do not know",
                    remedy="formats: " + ", ".join(sorted(KV_FORMATS)),
                )
            )
    return TensorFormats(weight=weight or "bf16", activation=weight or "bf16", kv=kv or "bf16")


def _unanswered(
    settings: RunSettings, model: ModelArchitecture, *, profiled: bool
) -> Sequence[Problem]:
    """Ways of running that are not simulated."""
    found = []
    if profiled and settings.tensor_parallel > 1:
        found.append(
            ("tensor_parallel_size", settings.tensor_parallel, "the profile is of one GPU")
        )
    if settings.data_parallel > 1 and not (model.experts and settings.expert_parallel):
        what = "ranks that share no experts do not step together; replay each on its own"
        found.append(("data_parallel_size", settings.data_parallel, what))
    return [
        Problem(path=f"meta.json.engine_kwargs.{key}", value=str(value), message=what)
        for key, value, what in found
    ]


def _with_model(case: _Case) -> Replay:
    """Replay with our own timing model."""
    timing = PhysicalModel()
    kv = case.capacity()
    made = setup(  # the count is passed on, so the capacity above is what is shown
        Deployment(
            placement=case.placement,
            policy=case.policy,
            max_sequences=case.max_sequences,
            token_budget=case.token_budget,
            kv_blocks=kv.blocks,
            block_tokens=kv.block_tokens,
            memory_fraction=case.placement.memory.usable_fraction,
        ),
        timing,
        longest_context=case.longest_context,
    )
    return Replay(
        run=case.run,
        simulation=_simulate(case.run, made.rules, made.table),
        costs=f"timing model ({timing.name}), nothing fitted to this run",
        kv=kv,
        predicted=case.predicted(),
        notes=_notes(case),
    )


def _with_profile(case: _Case, wanted: Wanted, profile: Profile) -> Replay:
    """Replay with the profile of the folder."""
    exchange = None
    if case.placement.data_parallel > 1:
        exchange = Exchange(ranks=case.placement.data_parallel, system=case.placement.system)
    table = profiled_table(
        profile,
        case.placement.architecture,
        token_budget=case.token_budget,
        max_sequences=case.max_sequences,
        exchange=exchange,
    )
    kv = case.capacity()
    rules = case.policy.rules(case.limits(kv.blocks))
    words = "kernel profile of the folder"
    if exchange is not None:
        words += ", exchange of experts from the fabric model"
    if not wanted.fit_first:
        simulation = _simulate(case.run, rules, table)
        words += ", nothing fitted"
        return Replay(
            run=case.run,
            simulation=simulation,
            costs=words,
            kv=kv,
            predicted=case.predicted(),
            notes=_notes(case),
        )
    if exchange is None:
        raise InfeasibleError("nothing to fit: the run has no ranks that exchange experts")
    extra = fit_exchange(case.run, rules, table, case.placement.architecture, wanted.fit_first)
    fitted = with_extra(table, case.placement.architecture, extra)
    return Replay(
        run=case.run,
        simulation=_simulate(case.run, rules, fitted),
        costs=f"{words}, two constants of the exchange fitted",
        kv=kv,
        predicted=case.predicted(),
        extra=extra,
        fitted_first=wanted.fit_first,
        notes=_notes(case),
    )


def _notes(case: _Case) -> tuple[str, ...]:
    settings = case.run.settings
    found = [
        f"{name} {value}: vLLM's API server by default"
        for name, value, said in (
            ("max_num_batched_tokens", case.token_budget, settings.token_budget),
            ("max_num_seqs", case.max_sequences, settings.max_sequences),
        )
        if said is None
    ]
    if case.placement.data_parallel > 1:
        found.append("ranks pad no tokens to one another; their host synchronisation takes no time")
    return tuple(found)


def _simulate(run: MeasuredRun, rules: Rules, table: StepTable) -> Simulation:
    return run_engine(prepare(run.trace, rules), rules, table, samples_s=SAMPLES_S)


def with_extra(
    table: StepTable, architecture: ModelArchitecture, extra: ExtraExchange
) -> StepTable:
    """Table whose exchange takes this much longer."""
    tokens = np.arange(table.shared_ps.size)
    more = expert_layers(architecture) * (extra.layer_s + extra.token_s * tokens)
    added = np.where(tokens > 0, np.rint(PS_PER_S * more), 0.0).astype(np.int64)
    return replace(table, shared_ps=table.shared_ps + added)


def fit_exchange(
    run: MeasuredRun, rules: Rules, table: StepTable, architecture: ModelArchitecture, first: int
) -> ExtraExchange:
    """Two constants of the exchange from the first requests alone.

    The run is simulated whole (later requests load the engine) with times of the first requests
    compared: the sum of squared logs of TTFT and TPOT is made least. It is rough, since a request
    catches one step or the next, so a simplex of one cell starts at each of the best points of a
    grid, and the best end is taken.

    Raises
    ------
    InfeasibleError
        Fewer than two requests to fit to, or none left to score.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - heavy

    if not 2 <= first < run.trace.requests:
        raise InfeasibleError(
            f"a fit to {first} of {run.trace.requests} requests; give 2 to {run.trace.requests - 1}"
        )
    measured = measured_times(run)
    job = prepare(run.trace, rules)

    def loss(values: Floats) -> float:
        trial = with_extra(table, architecture, _extra(values * np.array(FIT_SCALE)))
        times = simulated_times(run_engine(job, rules, trial))
        parts = (np.log(times[key] / measured[key])[:first] for key in ("ttft_s", "tpot_s"))
        return float(sum(np.nansum(np.square(part)) for part in parts))

    scale = np.array(FIT_SCALE)
    corners = product(*(range(cells + 1) for cells in FIT_CELLS))
    grid = sorted((np.array(pair, float) for pair in corners), key=loss)
    ends = [
        minimize(
            loss,
            start,
            method="Nelder-Mead",
            bounds=[(0.0, None)] * 2,
            options={
                "maxfev": FIT_RUNS,
                "xatol": FIT_TOLERANCE,
                "fatol": np.inf,
                "initial_simplex": start + np.concatenate([np.zeros((1, 2)), np.eye(2)]),
            },
        )
        for start in grid[:FIT_STARTS]
    ]
    return _extra(min(ends, key=lambda end: float(end.fun)).x * scale)


def _extra(values: Floats) -> ExtraExchange:
    return ExtraExchange(layer_s=float(values[0]) * MICRO, token_s=float(values[1]) * NANO)
