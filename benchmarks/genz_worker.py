"""Run GenZ (genz-llm, MIT licence) on requests from standard input; started by peers.py only.

Runs in the interpreter of its own environment, which has GenZ and not tapeout. One JSON list of
requests in, one JSON list of seconds (null where GenZ refuses) out.
"""

import contextlib
import json
import sys
import warnings
from functools import cache

GIB = 2**30  # GenZ counts bandwidths and capacities in powers of two
MIB = 2**20
TERA = 10**12
MSEC = 1000.0


def system(chip):
    """Make a GenZ system of a chip given in SI units."""
    from GenZ import System  # noqa: PLC0415

    return System(
        flops=chip["bf16_flop_per_s"] / TERA,
        offchip_mem_bw=chip["memory_bytes_per_s"] / GIB,
        off_chip_mem_size=chip["memory_bytes"] / MIB,
        interchip_link_bw=chip["link_bytes_per_s"] / GIB,
        interchip_link_latency=1.0,
        bits=chip["bits"],
    )


def gemm_s(request):
    """Time y[m,n] = x[m,k] w[k,n]."""
    from GenZ.operators import FC  # noqa: PLC0415
    from GenZ.unit import Unit  # noqa: PLC0415

    shape = ["gemm", request["m"], request["n"], request["k"], 0]
    row = FC(shape, (1.0, 1.0, 1.0)).get_roofline(system(request["chip"]), Unit())
    return row["Latency (msec)"] / MSEC


def common(request):
    """Arguments that prefill and decode share."""
    return {
        "model": request["model"],
        "bits": request["chip"]["bits"],
        "tensor_parallel": request["tensor"],
    }


@cache
def prefill_ms(text):
    """Prefill of one prompt; the points of a curve share it."""
    from GenZ import prefill_moddeling  # noqa: PLC0415

    request = json.loads(text)
    return prefill_moddeling(
        batch_size=1,
        input_tokens=request["input"],
        system_name=system(request["chip"]),
        **common(request),
    )["Latency"]


def tpot_s(request):
    """Decode step of the batch, and the prompts that finish in an average step."""
    from GenZ import decode_moddeling  # noqa: PLC0415

    decode = decode_moddeling(
        batch_size=request["batch"],
        input_tokens=request["context"],
        output_tokens=0,
        Bb=1,
        system_name=system(request["chip"]),
        **common(request),
    )["Latency"]
    prefill = prefill_ms(
        json.dumps({name: request[name] for name in ("model", "chip", "tensor", "input")})
    )
    return (decode + prefill * request["batch"] / request["output"]) / MSEC


def answer(request):
    """Seconds of one request; None where GenZ cannot answer it."""
    try:
        return float({"gemm": gemm_s, "tpot": tpot_s}[request["kind"]](request))
    except (ValueError, KeyError, AssertionError, ZeroDivisionError):
        return None


def main():
    """Answer all requests; GenZ prints, so its output goes to standard error."""
    requests = json.load(sys.stdin)
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(sys.stderr):
        answers = [answer(request) for request in requests]
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
