"""Measure what the product promises and write benchmarks/results.json.

Each figure is the best of a few runs in new processes: machines are shared and noisy, so compare
CPU seconds and ratios.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bench_sim
from bench_gemm import gemm_evals_per_cpu_s
from bench_step import step_evals_per_cpu_s
from bench_validate import ROWS, write

ROOT = Path(__file__).resolve().parent.parent
SCENARIO = "examples/jalapeno"
RUNS = 3
KIB_PER_MB = 1024


def _child(arguments: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and peak resident MB of one new process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    process = subprocess.Popen(
        arguments, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, error = process.communicate()
    if process.returncode:
        sys.exit(f"{' '.join(arguments)} failed: {error.decode()}")
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return cpu, wall, after.ru_maxrss / KIB_PER_MB


def _decide(folder: Path, cache: Path, *extra: str) -> tuple[float, float, float]:
    """Run the whole decision with its page, with a given cache folder."""
    command = [
        sys.executable,
        "-m",
        "tapeout",
        "decide",
        SCENARIO,
        "--quiet",
        "--report",
        str(folder / "report.html"),
        *extra,
    ]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache), "PYTHONPYCACHEPREFIX": str(cache)}
    return _child(command, environment)


_FUTURES = """
import resource, sys, time
from pathlib import Path
from tapeout.study.decide import futures, prepare
study = prepare(Path("examples/jalapeno"))
futures(study, 12, 1)
began = time.process_time()
futures(study, int(sys.argv[1]), 1)
spent = time.process_time() - began
print(spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _futures(draws_log2: int) -> tuple[float, float]:
    """CPU seconds and peak resident MB of a new process that draws and evaluates futures."""
    command = [sys.executable, "-c", _FUTURES, str(draws_log2)]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    spent, kib = out.stdout.split()
    return float(spent), float(kib) / KIB_PER_MB


def _all_futures(put: Put) -> None:
    """Speed and memory of the futures of the demo, all strategies, both objectives."""
    runs = [_futures(16) for _ in range(RUNS)]
    how = "65,536 futures of the demo, all strategies, both objectives, warm process"
    put("futures_65536_cpu_s", min(run[0] for run in runs), "s", f"{how}, best of {RUNS}")
    put("futures_65536_peak_rss_mb", max(run[1] for run in runs), "MB", f"{how}, its largest set")
    spent, most = _futures(20)
    how = "1,048,576 futures of the demo, all strategies, both objectives, one process"
    put("futures_1m_cpu_s", spent, "s", how)
    put("futures_1m_peak_rss_mb", most, "MB", f"{how}, its largest resident set")


_SENSITIVITY = """
import time
from pathlib import Path
from tapeout.study.central import tornado_rows
from tapeout.study.decide import futures, prepare
from tapeout.study.sensitivity import information
study = prepare(Path("examples/jalapeno"))
drawn = futures(study, 16, 1, full=False)
began = time.process_time()
moved = tornado_rows(study.problem, study.sampler)
information(study.problem, study.sampler, drawn.draws, drawn.cost, moved)
print(time.process_time() - began)
"""


def _printed_s(code: str) -> float:
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return float(out.stdout.strip())


Put = Callable[[str, float, str, str], None]
TARGETS = {
    "futures_65536_cpu_s": ("<=", 2.0),
    "futures_1m_peak_rss_mb": ("<=", 1000.0),
    "gemm_evals_per_cpu_s": (">=", 5e6),
    "step_evals_per_cpu_s": (">=", 3e5),
    "validate_300_serving_wall_s": ("<=", 60.0),
    "sim_output_tokens_per_cpu_s": (">=", 12e6),
    "sim_mooncake_512_output_tokens_per_cpu_s": (">=", 12e6),
    "sim_mooncake_16_output_tokens_per_cpu_s": (">=", 3e6),
    "sim_requests_per_cpu_s": (">=", 150e3),
    "sim_day_wall_s": ("<=", 60.0),
    "sim_day_peak_rss_mb": ("<=", 4000.0),
    "max_load_search_cpu_s": ("<=", 2.0),
    "sensitivity_cpu_s": ("<=", 10.0),
    "portfolio_500_cpu_s": ("<=", 10.0),
    "portfolio_500_regret_percent": ("<=", 2.0),
}
UNITS = {"_per_cpu_s": "1/s", "_mb": "MB", "_s": "s"}


def _timing_law(put: Put, folder: Path) -> None:
    """Rates of the timing law, and the time of a table of serving runs."""
    put(
        "gemm_evals_per_cpu_s",
        max(gemm_evals_per_cpu_s() for _ in range(RUNS)),
        "1/s",
        f"1 M distinct shapes, 8 tiles x 4 splits, no memo, one thread, best of {RUNS}",
    )
    put(
        "step_evals_per_cpu_s",
        max(step_evals_per_cpu_s() for _ in range(RUNS)),
        "1/s",
        f"4 chips x 128 batches x 160 contexts, breakdown included, best of {RUNS}",
    )
    table = folder / "runs.csv"
    write(table)
    command = [sys.executable, "-m", "tapeout", "validate", "serving", str(table)]
    runs = [_child([*command, "--out", str(folder / "predicted.csv")], dict(os.environ))
            for _ in range(RUNS)]  # fmt: skip
    how = f"`tapeout validate serving`, {ROWS} distinct runs of every kind of load, best of {RUNS}"
    put("validate_300_serving_wall_s", min(run[1] for run in runs), "s", how)
    put("validate_300_serving_cpu_s", min(run[0] for run in runs), "s", how)


def _simulator(put: Put, folder: Path, traces: Path | None) -> None:
    """Speed of the serving simulator; most cases need the public traces."""
    cases = ["fixed", "max-load"] if traces is None else list(bench_sim.CASES)
    for case in cases:
        command = [sys.executable, str(ROOT / "benchmarks" / "bench_sim.py"), case, str(traces)]
        out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        found = json.loads(out.stdout)
        for key, value in found["figures"].items():
            unit = next(unit for end, unit in UNITS.items() if key.endswith(end))
            put(key, value, unit, found["remark"])
    command = [sys.executable, "-m", "tapeout", "simulate", "--chip", "h100", "--model"]
    command += ["llama-3.1-8b", "--input", "512", "--output", "128", "--rate", "10"]
    command += ["--requests", "1000"]
    empty = os.environ | {"NUMBA_CACHE_DIR": str(folder / "kernels")}
    how = "`tapeout simulate` of 1,000 requests 512/128 at 10/s on one H100, new process; "
    how += "peers, cited in docs/simulate.md: 1.0 to 4.4 CPU seconds"
    cold = _child(command, empty)
    warm = min((_child(command, empty) for _ in range(RUNS)), key=lambda run: run[0])
    put("sim_1000_cold_cpu_s", cold[0], "s", how + "; no compiled kernels kept")
    put("sim_1000_warm_cpu_s", warm[0], "s", how + f"; compiled kernels kept, best of {RUNS}")


def _portfolio(put: Put) -> None:
    """The capacity portfolio of the demo."""
    command = [sys.executable, str(ROOT / "benchmarks" / "bench_portfolio.py")]
    runs = []
    for _ in range(RUNS):
        out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        runs.append(json.loads(out.stdout))
    how = "demo, 7 options, 10 years, 512 futures, omega 0.5 at CVaR95, 3 entries and 2 kinds,"
    how += f" coefficients and loading the solver in; relative gap {runs[0]['gap']:.0e};"
    put("portfolio_500_cpu_s", min(run["cpu_s"] for run in runs), "s", f"{how} best of {RUNS}")
    how = "risk-adjusted cost on 4,096 fresh futures over the best there"
    put("portfolio_500_regret_percent", 100.0 * runs[0]["regret"], "%", how)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ["decide", "futures", "law", "sim", "portfolio"]
    parser.add_argument("--part", choices=parts, help="only this part")
    parser.add_argument("--traces", type=Path, help="folder of public traces (docs/data.md)")
    return parser.parse_args()


def _decision(put: Put, folder: Path) -> None:
    """The whole decision, its futures, and the help screen."""
    cold = folder / "cold"
    first = _decide(folder, cold)
    how = "new process, empty caches: no compiled Python, no chart runtime kept"
    put("decide_first_wall_s", first[1], "s", how)
    runs = [_decide(folder, cold) for _ in range(RUNS)]
    how = f"`tapeout decide {SCENARIO} --report`, new process, caches filled, best of {RUNS}"
    put("decide_cold_cpu_s", min(run[0] for run in runs), "s", how)
    put("decide_cold_wall_s", min(run[1] for run in runs), "s", how)
    most = max(run[2] for run in [first, *runs])
    put("decide_peak_rss_mb", most, "MB", "largest resident set of any run")
    put("report_mb", (folder / "report.html").stat().st_size / 1e6, "MB", "size of the page")
    how = "tornado, Sobol, Shapley, EVPI, EVPPI of every input and subject, EVSI; 65,536 futures"
    put("sensitivity_cpu_s", _printed_s(_SENSITIVITY), "s", how + ", drawn beforehand")
    command = [sys.executable, "-m", "tapeout", "--help"]
    help_s = min(_child(command, dict(os.environ))[0] for _ in range(RUNS))
    put("help_cpu_s", help_s, "s", "`tapeout --help`, new process")


def main() -> None:
    """Measure and write; parts that are not asked for keep their figures."""
    asked = _arguments()
    target = ROOT / "benchmarks" / "results.json"
    results: dict[str, dict[str, object]] = {}
    if asked.part and target.exists():
        results = json.loads(target.read_text(encoding="utf-8"))["results"]

    def put(key: str, value: float, unit: str, how: str) -> None:
        results[key] = {"value": round(value, 3), "unit": unit, "how": how}
        print(f"{key:42s} {value:14.3f} {unit}", end="")
        if key in TARGETS:
            sign, limit = TARGETS[key]
            met = value >= limit if sign == ">=" else value <= limit
            results[key] |= {"target": f"{sign} {limit:g}", "met": met}
            print(f"  target {sign} {limit:g}: {'met' if met else 'MISSED'}", end="")
        print(flush=True)

    folder = Path(tempfile.mkdtemp(prefix="tapeout-bench-"))
    parts: dict[str, Callable[[], None]] = {
        "decide": lambda: _decision(put, folder),
        "futures": lambda: _all_futures(put),
        "law": lambda: _timing_law(put, folder),
        "sim": lambda: _simulator(put, folder, asked.traces),
        "portfolio": lambda: _portfolio(put),
    }
    try:
        for name, measure in parts.items():
            if asked.part in (None, name):
                measure()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    machine = {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.system(),
        "load_1min": round(os.getloadavg()[0], 2),  # above the cores: others were at work
    }
    target.write_text(
        json.dumps({"machine": machine, "results": results}, indent=1) + "\n", encoding="utf-8"
    )
    print(f"wrote {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
