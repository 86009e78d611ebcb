"""Speed of the serving simulator: tokens and requests for each CPU second, and a day of traffic."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from tapeout.catalog import load
from tapeout.chip import spec_from_record
from tapeout.fabric import usual_system
from tapeout.perf import PhysicalModel, Placement, serving_formats
from tapeout.serving.cluster.run import run_cluster
from tapeout.serving.cluster.types import Cluster, Kind, Router
from tapeout.serving.engine.defaults import EngineSetup, setup
from tapeout.serving.engine.job import prepare
from tapeout.serving.engine.run import run_engine
from tapeout.serving.objectives import parse_objective
from tapeout.serving.search.max_load import max_load
from tapeout.serving.search.streams import stream_of_means
from tapeout.serving.traffic import (
    ClientStatistics,
    Prefixes,
    ReadOptions,
    Trace,
    generate_clients,
    read_clients,
    read_trace,
)
from tapeout.serving.types import Deployment
from tapeout.workload import Traffic as WorkTraffic
from tapeout.workload import load_model

LEAST_CPU_S = 2.0
KIB_PER_MB = 1024
DAY_REPLICAS = 6


def deployment(model: str, *, longest: int = 8192, tensor: int = 1, block: int = 16) -> EngineSetup:
    """What a replica does and what its steps cost."""
    own = deployment_of(model, tensor=tensor, block=block)
    return setup(own, PhysicalModel(), longest_context=longest)


def deployment_of(
    model: str, *, tensor: int = 1, chip: str = "h100", block: int = 16
) -> Deployment:
    """One replica under the default policy, vLLM's V1 engine."""
    system, architecture = usual_system(spec_from_record(load().chip(chip))), load_model(model)
    placement = Placement(
        architecture=architecture,
        system=system,
        tensor_parallel=tensor,
        formats=serving_formats(system.chip, architecture, None, stack="vllm"),
        stack="vllm",
    )
    return Deployment(placement=placement, block_tokens=block)


def poisson(requests: int, rate: float, prompt: int, output: int, *, shared: bool) -> Trace:
    """Fixed lengths at a rate; `shared` gives all prompts the same first block."""
    rng = np.random.default_rng(0)
    prefixes = None
    if shared:
        ids = np.zeros(requests, np.int64)
        prefixes = Prefixes(block_tokens=16, offsets=np.arange(requests + 1), ids=ids, count=1)
    return Trace(
        arrival_s=np.cumsum(rng.exponential(1.0 / rate, requests)),
        input_tokens=np.full(requests, prompt),
        output_tokens=np.full(requests, output),
        prefixes=prefixes,
    )


def repeated(run: Callable[[], object]) -> float:
    """CPU seconds of one run, over runs of two seconds together; the first is not counted."""
    run()
    began, runs = time.process_time(), 0
    while time.process_time() - began < LEAST_CPU_S:
        run()
        runs += 1
    return (time.process_time() - began) / runs


def fixed_lengths(rate: float = 60.0) -> tuple[dict[str, float], str]:
    """200,000 requests of 512 and 128 tokens on one H100, prefix cache compiled in and used."""
    ready, requests = deployment("llama-3.1-8b"), 200_000
    job = prepare(poisson(requests, rate, 512, 128, shared=True), ready.rules)
    done = run_engine(job, ready.rules, ready.table)
    spent = repeated(lambda: run_engine(job, ready.rules, ready.table))
    words = (
        f"Llama-3.1-8B on one H100, 512/128 at {rate:g}/s, {done.totals.hit_tokens} tokens hit, "
        f"mean TTFT {1000 * float(np.nanmean(done.requests.ttft_s)):.0f} ms"
    )
    return {"sim_output_tokens_per_cpu_s": requests * 128 / spent}, words


def load_search() -> tuple[dict[str, float], str]:
    """The largest load within limits, the process warm."""
    ready = deployment_of("llama-3.1-8b")
    traffic = WorkTraffic(name="chat", model="llama-3.1-8b", input_tokens=512, output_tokens=128)
    objective = parse_objective("ttft_p90=1,tpot_p90=0.03")
    found = max_load(ready, stream_of_means(traffic), objective)
    spent = repeated(lambda: max_load(ready, stream_of_means(traffic), objective))
    wide = 100 * found.half_width_rps / found.rate_rps
    words = (
        f"Llama-3.1-8B on one H100, mean lengths 512/128, lognormal: {found.rate_rps:.1f} "
        f"requests/s within p90 TTFT 1 s and TPOT 30 ms, 95 % interval +-{wide:.1f} %, "
        f"{found.simulated_requests:,} requests simulated"
    )
    return {"max_load_search_cpu_s": spent}, words


def mooncake(data: Path, block: int, replicas: int = 8) -> tuple[dict[str, float], str]:
    """The Mooncake hour on replicas of Llama-3.1-70B, eight H100 each, in turn."""
    trace, _ = read_trace(data / "mooncake_conversation.jsonl", ReadOptions(block_tokens=block))
    ready = deployment("llama-3.1-70b", tensor=8, longest=131_072, block=block)
    job = prepare(trace, ready.rules)
    kind = Kind(name="h100", rules=ready.rules, table=ready.table, replicas=replicas)
    cluster = Cluster(kinds=(kind,), router=Router.ROUND_ROBIN)
    done = run_cluster(job, cluster).simulation
    spent = repeated(lambda: run_cluster(job, cluster))
    tokens = float(done.requests.output_tokens[done.requests.rejected == 0].sum())
    hit = done.totals.hit_tokens / float(trace.input_tokens.sum())
    ttft_s = float(np.nanmean(done.requests.ttft_s))
    words = (
        f"{replicas} replicas of Llama-3.1-70B on 8 H100, {block}-token blocks, in turn: "
        f"{100 * hit:.1f} % of tokens hit, mean TTFT {ttft_s:.1f} s"
    )
    return {f"sim_mooncake_{block}_output_tokens_per_cpu_s": tokens / spent}, words


def large_clients(data: Path) -> ClientStatistics:
    """ServeGen m-large, one day."""
    return read_clients(
        data / "servegen_m_large_day1_clients.csv", data / "servegen_m_large_day1_lengths.json.gz"
    )


def part(trace: Trace, first: int, step: int) -> Trace:
    """Every so many requests: what one replica gets in turn."""
    rows = slice(first, None, step)
    return Trace(
        arrival_s=trace.arrival_s[rows],
        input_tokens=trace.input_tokens[rows],
        output_tokens=trace.output_tokens[rows],
    )


def large_requests(data: Path) -> tuple[dict[str, float], str]:
    """Two hours of ServeGen m-large, every eighth request, on one H100."""
    ready = deployment("llama-3.1-8b", longest=16_384)
    whole = generate_clients(large_clients(data), 0, window_s=(36_000.0, 43_200.0))
    job = prepare(part(whole, 0, DAY_REPLICAS), ready.rules)
    spent = repeated(lambda: run_engine(job, ready.rules, ready.table))
    return {"sim_requests_per_cpu_s": job.prompt.size / spent}, "m-large lengths, 10:00 to 12:00"


def day(data: Path) -> tuple[dict[str, float], str]:
    """18 million requests over replicas in turn, generation included, on two threads."""
    ready = deployment("llama-3.1-8b", longest=16_384)
    run_engine(prepare(poisson(10, 1.0, 9, 9, shared=False), ready.rules), ready.rules, ready.table)
    began, cpu = time.perf_counter(), time.process_time()
    trace = generate_clients(large_clients(data), 0)

    def one(replica: int) -> tuple[float, float, float]:
        job = prepare(part(trace, replica, DAY_REPLICAS), ready.rules)
        done = run_engine(job, ready.rules, ready.table)
        ttft, preempted = done.requests.ttft_s, float(done.totals.preemptions)
        return float(np.nanmean(ttft)), float(np.nanquantile(ttft, 0.99)), preempted

    with ThreadPoolExecutor(2) as pool:
        rows = np.array(list(pool.map(one, range(DAY_REPLICAS))))
    wall, spent = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MB
    words = (
        f"{trace.requests:,} requests over {DAY_REPLICAS} H100 with Llama-3.1-8B in turn, two "
        f"threads: mean TTFT {1000 * rows[:, 0].mean():.0f} ms, p99 {rows[:, 1].mean():.2f} s, "
        f"{rows[:, 2].sum():.0f} preemptions"
    )
    return {"sim_day_wall_s": wall, "sim_day_cpu_s": spent, "sim_day_peak_rss_mb": peak}, words


def day_least_outstanding(data: Path) -> tuple[dict[str, float], str]:
    """The same day with least-outstanding routing, which one thread has to do."""
    ready = deployment("llama-3.1-8b", longest=16_384)
    rules = replace(ready.rules, prefix_cache=False)  # no prompt shares anything
    began = time.perf_counter()
    job = prepare(generate_clients(large_clients(data), 0), rules)
    kind = Kind(name="h100", rules=rules, table=ready.table, replicas=DAY_REPLICAS)
    cluster = Cluster(kinds=(kind,), router=Router.LEAST_OUTSTANDING)
    done = run_cluster(job, cluster).simulation
    wall = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB_PER_MB
    words = (
        f"least outstanding, one thread: mean TTFT "
        f"{1000 * float(np.nanmean(done.requests.ttft_s)):.0f} ms, p99 "
        f"{float(np.nanquantile(done.requests.ttft_s, 0.99)):.2f} s, "
        f"{done.totals.preemptions} preemptions"
    )
    return {"sim_day_least_outstanding_wall_s": wall, "sim_day_least_peak_rss_mb": peak}, words


CASES: dict[str, Callable[..., tuple[dict[str, float], str]]] = {
    "fixed": lambda _: fixed_lengths(),
    "max-load": lambda _: load_search(),
    "mooncake-512": lambda data: mooncake(data, 512),
    "mooncake-16": lambda data: mooncake(data, 16),
    "requests": large_requests,
    "day": day,
    "day-least": day_least_outstanding,
}


def main() -> None:
    """Run one case, named first, on the traces in a folder, named second; print JSON."""
    figures, words = CASES[sys.argv[1]](Path(sys.argv[2]))
    print(json.dumps({"figures": figures, "remark": words}))


if __name__ == "__main__":
    main()
