"""`tapeout simulate`: a trace, or traffic of given lengths, through a deployment."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tapeout.cli import simulate_cluster as many
from tapeout.cli import simulate_options as o
from tapeout.cli.simulate_traffic import Asked, traffic_of
from tapeout.errors import InfeasibleError, Problem, ProblemsError, TapeoutError, printable

if TYPE_CHECKING:
    from tapeout.cli.simulate_traffic import Traffic
    from tapeout.perf import TimingModel
    from tapeout.serving.apart import Apart
    from tapeout.serving.engine.job import Front
    from tapeout.serving.engine.types import StepTable
    from tapeout.serving.search import Price
    from tapeout.serving.simulate import SimulationResult
    from tapeout.serving.types import Deployment

HTML = (".html", ".htm")
TABLE = (".csv", ".parquet")


def simulate(
    trace: o.TraceFile = None, chip: o.Chip = "", model: o.Model = "",
    parallelism: o.Parallelism = "", precision: o.Precision = None, rate: o.Rate = None,
    thin: o.Thin = False, speed: o.Speed = None, requests: o.Requests = None,
    duration: o.Duration = None, in_flight: o.InFlight = 0, input_tokens: o.Input = None,
    output_tokens: o.Output = None, length_cv: o.LengthCv = None, cv: o.Cv = None,
    trace_format: o.Format = None, sort: o.Sort = False, max_model_len: o.MaxLength = None,
    policy: o.Policy = "vllm-v1", max_num_seqs: o.Sequences = None,
    max_num_batched_tokens: o.Budget = None, kv_blocks: o.Blocks = None,
    gpu_memory_utilization: o.Utilisation = None, block_size: o.BlockTokens = 16,
    schedule_conservativeness: o.Conservativeness = None, no_prefix_cache: o.NoPrefixCache = False,
    host_cache_gib: o.HostCacheGib = 0.0, host_link_gb_per_s: o.HostLink = None,
    replicas: o.Replicas = 1, by_client: o.ByClient = False, prefill_chip: o.PrefillChip = "",
    prefill_parallelism: o.PrefillParallelism = "", prefill_replicas: o.PrefillReplicas = 0,
    layered_transfer: o.Layered = False, stream_first: o.StreamFirst = False, drafts: o.Drafts = 0,
    acceptance: o.Acceptance = 0.7, draft_share: o.DraftShare = 0.03, router: many.Router = "",
    information_age: many.InformationAge = 0.0, autoscale: many.Autoscale = "",
    admission: many.Admission = "", fail: many.Fail = None, also: many.Also = None,
    usd_per_hour: many.OldPrice = None,  # noqa: ARG001 - refused before
    usd_per_chip_hour: many.Price = 0.0, calibration: o.Calibration = None, slo: o.Slo = "",
    max_load: o.MaxLoad = False, attainment: o.Attainment = 0.0, warm_up: o.WarmUp = 0.0,
    seed: o.Seed = 0, roofline: o.Roofline = False, overlay: o.Overlay = None, out: o.Out = None,
    report: o.Report = None, chrome_trace: o.ChromeTrace = None, as_json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:  # fmt: skip
    """Run requests through an engine over time: latency percentiles, SLOs, load, cache, energy.

    Examples:

      tapeout simulate --chip h100 --model llama-3.1-8b --input 512 --output 128 --rate 10

      tapeout simulate trace.csv --chip h100 --model llama-3.1-70b --rate 2 --slo ttft_p90=2

      tapeout simulate mooncake.jsonl --chip b200 --model gpt-oss-120b --speed 2 --replicas 4

      tapeout simulate --chip h100 --model llama-3.1-8b --in-flight 64 --report run.html

      tapeout simulate --chip h100 --model llama-3.1-8b --rate 9 --prefill-replicas 2 --drafts 3

      tapeout simulate --chip h100 --model llama-3.1-8b --max-load --rate 300 --slo ttft_p90=1

      tapeout simulate --chip h100 --model llama-3.1-8b --rate 40 --replicas 4 --router prefix
    """
    files = _Files(out=out, report=report, chrome_trace=chrome_trace)
    limits: dict[str, object] = {
        "policy": policy, "max_sequences": max_num_seqs, "token_budget": max_num_batched_tokens,
        "kv_blocks": kv_blocks, "block_tokens": block_size, "prefix_cache": not no_prefix_cache,
        "replicas": replicas, "draft_tokens": drafts, "acceptance": acceptance,
        "draft_share": draft_share, "memory_fraction": gpu_memory_utilization,
        "max_model_len": max_model_len, "conservativeness": schedule_conservativeness,
        "host_cache_gib": host_cache_gib, "host_link_gb_per_s": host_link_gb_per_s,
    }  # fmt: skip
    prefill = _Prefill(prefill_chip, prefill_parallelism, prefill_replicas,
                       layered_transfer, stream_first)  # fmt: skip
    placed = (model, chip, parallelism, precision, overlay)
    engine = _Engine(placed, limits, prefill, roofline, calibration)
    asked = Asked(
        path=trace, rate=rate, thin=thin, speed=speed, requests=requests, duration_s=duration,
        in_flight=in_flight, form=trace_format, sort=sort, max_model_len=max_model_len, seed=seed,
        input_tokens=input_tokens, output_tokens=output_tokens, length_cv=length_cv, cv=cv,
    )  # fmt: skip
    given = many.Given(
        router=router, autoscale=autoscale, fail=tuple(fail or ()), admission=admission,
        also=tuple(also or ()), information_age_s=information_age, by_client=by_client, chip=chip,
        usd_per_chip_hour=usd_per_chip_hour, limited="ttft" in slo or "tpot" in slo,
    )  # fmt: skip
    how = _How(slo=slo, warm_up_s=warm_up, by_client=by_client, seed=seed, many=given)
    try:
        _check(engine, files, given)
        with _progress(show=not quiet and not as_json) as tell:
            if max_load:
                _largest(asked, engine, how, attainment, files, as_json=as_json, tell=tell)
                return
            result = _run(traffic_of(asked), engine, how, files, tell)
            written = files.write(result, tell)
    except TapeoutError as error:
        typer.secho(printable(str(error)), err=True, fg=typer.colors.RED)
        raise typer.Exit(2) from error
    _print(result, written, as_json=as_json)


def _largest(
    asked: Asked, engine: _Engine, how: _How, attainment: float, files: _Files, *,
    as_json: bool, tell: Tell,
) -> None:  # fmt: skip
    """Look for the largest load and print it."""
    from tapeout.cli.max_load import find, needed, show  # noqa: PLC0415
    from tapeout.serving.search import SearchOptions  # noqa: PLC0415

    problems = [
        Problem(path=path, value="", message=message, remedy=remedy)
        for wrong, path, message, remedy in (
            (files.out or files.report or files.chrome_trace, "--out, --report, --chrome-trace",
             "are of one run, and a search makes many", "run the rate that --max-load gives"),
            (engine.prefill.given, "--prefill-...", "a pool of its own is not searched yet",
             "leave it out, or run rates one by one"),
            (how.many.routed, "--router and other options of many replicas",
             "are of one run, and a search makes many", "leave them out"),
        )
        if wrong
    ]  # fmt: skip
    if problems:
        raise ProblemsError("--max-load", problems)
    options = SearchOptions(
        model=engine.timing(), attainment=attainment, warm_up_s=how.warm_up_s, seed=how.seed,
        adjust=engine.adjust(), tell=tell,
    )  # fmt: skip
    deployment = engine.deployment()
    found = find(asked, deployment, how.slo, options, engine.notes())
    need = None
    if asked.rate is not None and found.rate_rps > 0.0:
        price = engine.price(how.many.usd_per_chip_hour)
        need = needed(asked.rate, found, deployment.replicas, price)
    show(deployment, found, need, as_json=as_json)


Tell = Callable[[str, float], None]
Adjust = Callable[["StepTable", "Front"], tuple["StepTable", "Front"]]


@dataclass(frozen=True, slots=True)
class _Prefill:
    """The prefill pool as given."""

    chip: str
    parallelism: str
    replicas: int
    layered: bool
    stream_first: bool

    @property
    def given(self) -> bool:
        """Whether there is one."""
        return bool(self.chip or self.parallelism or self.replicas)


@dataclass(frozen=True, slots=True)
class _Engine:
    """Chip, model and limits as given."""

    placed: tuple[str, str, str, str | None, Path | None]
    limits: dict[str, object]
    prefill: _Prefill
    roofline: bool
    calibration: Path | None

    def adjust(self) -> Adjust | None:
        """What changes the step times; None without a calibration."""
        if self.calibration is None:
            return None
        from tapeout.serving.telemetry import (  # noqa: PLC0415
            apply_calibration,
            load_calibration,
        )

        found = load_calibration(self.calibration)
        return lambda table, front: apply_calibration(table, front, found)

    def notes(self) -> tuple[str, ...]:
        """That times were calibrated, if so."""
        if self.calibration is None:
            return ()
        return (f"step times calibrated with {self.calibration}, so their error is another",)

    def deployment(self) -> Deployment:
        from tapeout.cli.deploy import Limits, deployment_of, placement_of  # noqa: PLC0415

        model, chip, parallelism, precision, overlay = self.placed
        placement = placement_of([model], chip, parallelism, precision, overlay)
        return deployment_of(placement, Limits(**self.limits))  # type: ignore[arg-type]

    def apart(self) -> Apart | None:
        """Prefill pool: the engine's own limits but its default cache; None without one."""
        if not self.prefill.given:
            return None
        from tapeout.cli.deploy import Limits, deployment_of, placement_of  # noqa: PLC0415
        from tapeout.serving.apart import Apart  # noqa: PLC0415

        model, chip, parallelism, precision, overlay = self.placed
        placement = placement_of(
            [model],
            self.prefill.chip or chip,
            self.prefill.parallelism or ("" if self.prefill.chip else parallelism),
            precision,
            overlay,
        )
        own = {"replicas": max(self.prefill.replicas, 1), "draft_tokens": 0, "kv_blocks": None}
        return Apart(
            prefill=deployment_of(placement, Limits(**self.limits | own)),  # type: ignore[arg-type]
            layered=self.prefill.layered,
            stream_first=self.prefill.stream_first,
        )

    def beside(
        self, chip: str, parallelism: str, precision: str | None, replicas: int
    ) -> Deployment:
        """The same model and limits on another chip, its cache estimated."""
        from tapeout.cli.deploy import Limits, deployment_of, placement_of  # noqa: PLC0415

        model, _, _, usual, overlay = self.placed
        place = placement_of([model], chip, parallelism, precision or usual, overlay)
        limits = self.limits | {"replicas": replicas, "kv_blocks": None}
        return deployment_of(place, Limits(**limits))  # type: ignore[arg-type]

    def price(self, usd_per_chip_hour: float) -> Price | None:
        """Of a chip: as given, else the catalogue's rent; None for a chip file."""
        from tapeout.catalog import load  # noqa: PLC0415
        from tapeout.cli.deploy import CHIP_FILE  # noqa: PLC0415
        from tapeout.serving.search import Price, catalogue_price  # noqa: PLC0415

        _, chip, _, _, overlay = self.placed
        if usd_per_chip_hour > 0.0:
            return Price(usd_per_chip_hour=usd_per_chip_hour)
        return None if chip.endswith(CHIP_FILE) else catalogue_price(load(overlay), chip)

    def timing(self) -> TimingModel:
        from tapeout.perf import PhysicalModel, RooflineModel  # noqa: PLC0415

        return RooflineModel() if self.roofline else PhysicalModel()


@dataclass(frozen=True, slots=True, kw_only=True)
class _How:
    """How it is run and judged."""

    slo: str
    warm_up_s: float
    by_client: bool
    seed: int
    many: many.Given


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """What is to be written."""

    out: Path | None
    report: Path | None
    chrome_trace: Path | None

    @property
    def folder(self) -> bool:
        """Whether --out is a folder."""
        return self.out is not None and self.out.suffix.lower() not in TABLE

    @property
    def over_time(self) -> bool:
        """Whether a timeline is needed."""
        return self.folder or self.report is not None or self.chrome_trace is not None

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the names."""
        if self.report is not None and self.report.suffix.lower() not in HTML:
            yield _ending("--report", self.report, ".html")
        if self.chrome_trace is not None and self.chrome_trace.suffix.lower() != ".json":
            yield _ending("--chrome-trace", self.chrome_trace, ".json")
        if self.folder and self.out is not None and (self.out.suffix or self.out.is_file()):
            yield _ending("--out", self.out, ".csv or .parquet, or name a folder")

    def write(self, result: SimulationResult, tell: Tell) -> tuple[Path, ...]:
        """Write everything; the paths in order."""
        tell("write", 0.0)
        written = [] if self.out is None else list(_write_out(result, self.out, self.folder))
        if self.report is not None:
            from tapeout.report.simulation import write_simulation  # noqa: PLC0415

            write_simulation(result, self.report)
            written.append(self.report)
        if self.chrome_trace is not None:
            from tapeout.serving.chrome_trace import write_trace  # noqa: PLC0415

            write_trace(result.simulation, self.chrome_trace)
            written.append(self.chrome_trace)
        tell("write", 1.0)
        return tuple(written)


def _write_out(result: SimulationResult, out: Path, folder: bool) -> Iterator[Path]:
    """Rows of requests; in a folder the timeline and the summary too."""
    from tapeout.serving import records  # noqa: PLC0415

    met = result.met if result.setting.objective.limits else None
    rows = records.columns(result.simulation.requests, result.trace, met)
    requests = out / "requests.csv" if folder else out
    records.write_columns(requests, rows)
    yield requests
    if folder:
        records.write_json(out / "summary.json", result.to_dict())
        yield out / "summary.json"
        line = result.simulation.timeline
        if line is not None:
            records.write_columns(out / "timeline.csv", records.timeline_columns(line))
            yield out / "timeline.csv"


def _ending(path: str, name: Path, wanted: str) -> Problem:
    return Problem(
        path=path,
        value=str(name),
        message="cannot be written in this form",
        remedy=f"end the name in {wanted}",
    )


def _check(engine: _Engine, files: _Files, given: many.Given) -> None:
    """Everything that is missing or wrong, before anything is read."""
    model, chip = engine.placed[:2]
    problems = [
        Problem(path=path, value="", message="is missing", remedy=f"add {path} {example}")
        for path, value, example in (
            ("--chip", chip, "h100"),
            ("--model", model, "llama-3.1-8b"),
        )
        if not value
    ]
    problems += files.problems()
    if engine.limits["draft_tokens"] and engine.limits["policy"] != "vllm-v1":
        problems.append(
            Problem(
                path="--drafts",
                value=str(engine.limits["policy"]),
                message="only vllm-v1 verifies drafts",
                remedy="leave out --drafts or --policy",
            )
        )
    if engine.limits["conservativeness"] is not None and engine.limits["policy"] != "sglang":
        problems.append(
            Problem(
                path="--conservativeness",
                value=str(engine.limits["policy"]),
                message="only sglang keeps room for outputs",
                remedy="leave it out or add --policy sglang",
            )
        )
    problems += _host_problems(engine, routed=given.routed)
    if given.by_client and engine.prefill.given:
        problems.append(
            Problem(
                path="--by-client",
                value="",
                message="prefill apart sends requests by turns",
                remedy="leave it out",
            )
        )
    if problems:
        raise ProblemsError("tapeout simulate", problems)


def _host_problems(engine: _Engine, *, routed: bool) -> Iterator[Problem]:
    """What does not go with a cache in host memory."""
    size, link = (engine.limits[name] for name in ("host_cache_gib", "host_link_gb_per_s"))
    if not size:
        if link is not None:
            yield Problem(
                path="--host-link-gb-per-s",
                value=str(link),
                message="is the link of a cache in host memory, and there is none",
                remedy="add --host-cache-gib, e.g. 64, or leave it out",
            )
        return
    policy = str(engine.limits["policy"])
    for wrong, value, message, other in (
        (policy != "vllm-v1", policy, "only vllm-v1 has a cache in host memory", "--policy"),
        (
            not engine.limits["prefix_cache"],
            "",
            "blocks in host memory are found by the prefix cache",
            "--no-prefix-cache",
        ),
        (
            engine.prefill.given,
            "",
            "a prefill pool of its own is not simulated with a cache in host memory",
            "--prefill-...",
        ),
        (
            routed,
            "",
            "replicas behind a router are not simulated with a cache in host memory",
            "--router and what goes with it",
        ),
    ):
        if wrong:
            yield Problem(
                path="--host-cache-gib",
                value=value,
                message=message,
                remedy=f"leave it or {other} out",
            )


def _run(
    traffic: Traffic, engine: _Engine, how: _How, files: _Files, tell: Tell
) -> SimulationResult:
    from tapeout.serving.objectives import Objective, parse_objective  # noqa: PLC0415
    from tapeout.serving.simulate import AUTO, Options  # noqa: PLC0415
    from tapeout.serving.simulate import simulate as run  # noqa: PLC0415

    objective = parse_objective(how.slo) if how.slo else Objective()
    asked = many.asked_of(how.many, engine.beside)
    options = Options(
        in_flight=traffic.in_flight,
        warm_up_s=how.warm_up_s,
        samples_s=AUTO if files.over_time else 0.0,
        log=files.report is not None or files.chrome_trace is not None,
        by_client=how.by_client,
        cluster=asked,
        adjust=engine.adjust(),
        apart=engine.apart(),
        notes=(*traffic.notes, *engine.notes()),
        tell=tell,
    )
    result = run(
        engine.deployment(),
        traffic.trace,
        model=engine.timing(),
        seed=how.seed,
        objective=objective,
        options=options,
    )
    _check_served(result)
    return result


def _check_served(result: SimulationResult) -> None:
    """Refuse a run in which no request could be held: it has no figures."""
    from tapeout.serving.engine.job import longest_tokens, never_fits  # noqa: PLC0415

    trace, rules = result.trace, result.setup.rules
    if never_fits(trace.input_tokens, trace.output_tokens, rules).all():
        shortest = int((trace.input_tokens + trace.output_tokens).min())
        raise InfeasibleError(
            f"no request fits: the shortest has {shortest:,} tokens, the longest that the engine"
            f" holds {longest_tokens(rules):,}; give more --kv-blocks or another --parallelism"
        )


STAGES = {
    "traffic": "reading the traffic",
    "setup": "timing the steps",
    "simulate": "simulating (a first run compiles the engine)",
    "measure": "measuring",
    "write": "writing",
}


@contextmanager
def _progress(*, show: bool) -> Iterator[Tell]:
    """What is being done, on stderr; nothing where nobody looks."""
    if not show or not sys.stderr.isatty():
        yield lambda _stage, _done: None
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(STAGES["traffic"], total=None)

        def tell(stage: str, done: float) -> None:
            bar.update(
                task,
                description=STAGES.get(stage, stage),
                total=1.0 if done else None,
                completed=done,
            )

        yield tell


def _print(result: SimulationResult, written: tuple[Path, ...], *, as_json: bool) -> None:
    """Print a run, and which files were written."""
    if as_json:
        from tapeout.serving.remarks import warnings  # noqa: PLC0415

        content = result.to_dict() | {"warnings": list(warnings(result))}
        typer.echo(json.dumps(content, indent=2, allow_nan=False))
    else:
        from tapeout.cli.simulate_show import show  # noqa: PLC0415

        show(result)
    for path in written:
        typer.echo(f"Wrote {path}", err=as_json)
