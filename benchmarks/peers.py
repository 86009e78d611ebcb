"""Other tools on the same rows: python benchmarks/peers.py install | status.

* GenZ (genz-llm 0.0.16, MIT licence), run by genz_worker.py in an environment of its own.
* LLMCompass' roofline mode. There is no package of it, and its repository needs a network, so its
  rule for a matrix product (commit b95c6c9, software_model/matmul.py) is restated: the larger of
  FLOP over peak and elements over bandwidth. It divides elements, not bytes, by bytes per second;
  that is kept, since it is what the tool computes.
* The plain roofline: FLOP over dense peak, bytes over bandwidth, the larger.

`install` makes an environment in the cache folder (TAPEOUT_PEERS, else ~/.cache/tapeout-peers). No
peer is a dependency of tapeout; one that is not there yields nan and is named by `absent`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.catalog import load
from tapeout.chip import ChipSpec, spec_from_record
from tapeout.errors import TapeoutError
from tapeout.fabric import usual_system
from tapeout.numerics import Floats
from tapeout.perf import RooflineModel, serving_formats
from tapeout.perf.ops.cases import OpCase
from tapeout.perf.peaks import peak_flop_per_s
from tapeout.serving.cases import Case, case_placement, closed_loop, parse_parallelism
from tapeout.serving.steady import Lengths
from tapeout.workload import FORMAT_BYTES, load_model

GENZ_VERSION = "0.0.16"
GENZ = f"GenZ {GENZ_VERSION}"
LLMCOMPASS = "LLMCompass roofline (restated)"
ROOFLINE = "plain roofline"
WORKER = Path(__file__).parent / "genz_worker.py"
TIMEOUT_S = 1800.0
RATE_DTYPES = {"fp8_block": "fp8", "nvfp4": "fp4", "mxfp4": "fp4"}  # ours: dtype of the peak
GENZ_BITS = {"bf16": "bf16", "fp16": "bf16", "fp8": "fp8", "int8": "int8", "fp4": "fp4"}
GENZ_MODELS = {
    # ours: GenZ's; Llama-3.x of one size share an architecture
    "Llama-2-7B": "meta-llama/Llama-2-7B",
    "Llama-3-8B": "meta-llama/meta-llama-3.1-8b",
    "Llama-3.1-8B": "meta-llama/meta-llama-3.1-8b",
    "Llama-3.1-70B": "meta-llama/meta-llama-3.1-70b",
    "Llama-3.3-70B": "meta-llama/meta-llama-3.1-70b",
    "Llama-3.1-405B": "meta-llama/meta-llama-3.1-405b",
}


def cache_folder() -> Path:
    """Folder that holds the environments of the peers."""
    return Path(os.environ.get("TAPEOUT_PEERS") or Path.home() / ".cache/tapeout-peers")


def genz_python() -> Path | None:
    """Interpreter that has GenZ of the right version; None where it is not installed."""
    python = cache_folder() / "venv/bin/python"
    found = list(cache_folder().glob(f"venv/lib/*/site-packages/genz_llm-{GENZ_VERSION}.dist-info"))
    return python if python.exists() and found else None


def install() -> None:
    """Make the environment of GenZ from the package index that pip is set to."""
    folder = cache_folder() / "venv"
    venv.create(folder, with_pip=True)
    python = folder / "bin/python"
    command = [str(python), "-m", "pip", "install", "--quiet", f"genz-llm=={GENZ_VERSION}"]
    subprocess.run(command, check=True)


def absent() -> dict[str, str]:
    """Peers that cannot be run here, with what to print in place of a figure."""
    if genz_python() is None:
        return {GENZ: "not installed, figure absent (python benchmarks/peers.py install)"}
    return {}


def peer_gemm_s(rows: Sequence[OpCase]) -> dict[str, Floats]:
    """Time of matrix products under every peer, nan where it has no answer. [s].

    Parameters
    ----------
    rows : sequence of OpCase
        Operation "gemm"; chips by catalogue name or alias.

    Returns
    -------
    dict of peer to array, shape (row,)
    """
    for row in rows:
        row.needs("m", "n", "k")
    return {
        ROOFLINE: np.array([_roofline_gemm_s(row, in_bytes=True) for row in rows], float),
        LLMCOMPASS: np.array([_roofline_gemm_s(row, in_bytes=False) for row in rows], float),
        GENZ: _genz_s([_genz_gemm(row) for row in rows]),
    }


def peer_serving_tpot_s(cases: Sequence[Case]) -> dict[str, Floats]:
    """TPOT of closed loops under every peer, nan where it has no answer. [s].

    GenZ has no serving loop: its decode step of the batch at the mean context, plus its prefill of
    the prompts that finish in an average step. Dense models of `GENZ_MODELS` with tensor
    parallelism only. LLMCompass' roofline mode has no serving either and is left out. GenZ takes
    about 0.7 s a case.

    Returns
    -------
    dict of peer to array, shape (case,)
    """
    return {
        ROOFLINE: np.array([_roofline_tpot_s(case) for case in cases], float),
        GENZ: _genz_s([_genz_tpot(case) for case in cases]),
    }


@cache
def _chip(name: str) -> ChipSpec:
    return spec_from_record(load().chip(name))


def _dtype(row: OpCase) -> str:
    name = row.dtype or "bf16"
    return RATE_DTYPES.get(name, name)


def _roofline_gemm_s(row: OpCase, *, in_bytes: bool) -> float:
    chip, dtype = _chip(row.chip), _dtype(row)
    flop = 2.0 * row.m * row.n * row.k
    width = FORMAT_BYTES.get(dtype, 2.0) if in_bytes else 1.0
    out = 2.0 if in_bytes else 1.0  # products leave in 16 bit whatever the operands are
    moved = width * (row.m * row.k + row.k * row.n) + out * row.m * row.n
    return max(flop / peak_flop_per_s(chip, dtype), moved / chip.memory_bytes_per_s)


def _roofline_tpot_s(case: Case) -> float:
    try:
        system = usual_system(_chip(case.chip))
        architecture = load_model(case.model)
        formats = serving_formats(system.chip, architecture, case.precision, stack=case.engine)
        placement = case_placement(case, architecture, system, formats)
        lengths = Lengths(new=case.input_tokens, cached=0.0, output=case.output_tokens)
        got = closed_loop(RooflineModel(), placement, lengths, np.array([case.concurrency]))
    except TapeoutError:
        return math.nan
    return float(got.tpot_s[0])


def _genz_chip(chip: ChipSpec, bits: str) -> dict[str, Any]:
    return {
        "bf16_flop_per_s": peak_flop_per_s(chip, "bf16"),
        "memory_bytes_per_s": chip.memory_bytes_per_s,
        "memory_bytes": chip.memory_bytes,
        "link_bytes_per_s": chip.links[0].bytes_per_s if chip.links else 1.0,
        "bits": bits,
    }


def _genz_gemm(row: OpCase) -> dict[str, Any] | None:
    bits = GENZ_BITS.get(_dtype(row))
    if bits is None:
        return None
    shape = {name: int(getattr(row, name)) for name in ("m", "n", "k")}
    return {"kind": "gemm", "chip": _genz_chip(_chip(row.chip), bits), **shape}


def _genz_tpot(case: Case) -> dict[str, Any] | None:
    model, bits = GENZ_MODELS.get(case.model), GENZ_BITS.get(case.precision)
    try:
        degrees = parse_parallelism(case.parallelism)
    except TapeoutError:
        return None
    plain = degrees.pipeline == 1 and degrees.data == 1
    if model is None or bits is None or not plain:
        return None
    return {
        "kind": "tpot",
        "chip": _genz_chip(_chip(case.chip), bits),
        "model": model,
        "tensor": degrees.tensor,
        "batch": max(1, round(case.concurrency)),
        "context": round(case.input_tokens + case.output_tokens / 2.0),
        "input": max(1, round(case.input_tokens)),
        "output": case.output_tokens,
    }


def _genz_s(requests: Sequence[dict[str, Any] | None]) -> Floats:
    """Answers of GenZ in the order of the requests, nan for those it cannot take."""
    answers = np.full(len(requests), np.nan)
    asked = [place for place, request in enumerate(requests) if request is not None]
    python = genz_python()
    if python is None or not asked:
        return answers
    done = subprocess.run(
        [str(python), str(WORKER)],
        input=json.dumps([requests[place] for place in asked]),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=True,
    )
    given = json.loads(done.stdout)
    answers[asked] = [math.nan if value is None else value for value in given]
    return answers


def main() -> int:
    """Install the peers, or say what is there."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("install", "status"))
    given = parser.parse_args()
    if given.what == "install":
        install()
    missing = absent()
    for peer in (ROOFLINE, LLMCOMPASS, GENZ):
        print(f"{peer}: {missing.get(peer, 'ready')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
