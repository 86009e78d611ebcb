"""Fit the stack terms of the timing law: python tools/fit_perf.py DATA.

Reads DATA/measured/endtoend.csv and fits to the fit part of its scored curves (serving.split; rows
of the report part are refused) what software adds to the operator laws, whose constants come from
timed kernels alone: factors of matrix products, efficiencies of attention and small operators,
times per kernel, sequence and step, link latency and efficiency, and log factors of vendor,
engine, chip and model (perf.constants.LEVELS), all together (tools/hierarchical.py). Writes
src/tapeout/perf/data/constants.json.

The width of the bands comes from folds inside the fit part: curves, models and chips left out.
The report part is not read here; benchmarks/accuracy.py scores it. The first form of this law was
chosen with the report part in view (benchmarks/law_trials.csv), the present one by folds of the
fit part only (benchmarks/stack_trials.csv).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from tapeout.constants import Z80
from tapeout.errors import InfeasibleError
from tapeout.fabric import System, collective_s, system_topology
from tapeout.numerics import Floats, Ints
from tapeout.perf import Fit, PhysicalModel, Spread, StackConstants, load_fit, prepare
from tapeout.perf.constants import LEVELS
from tapeout.perf.law import Work, step_times
from tapeout.perf.physical import software_of
from tapeout.serving.measured import ENDTOEND, Curve, read_rows, scored_curves
from tapeout.serving.scoring import ErrorSummary, curve_weights, summarise, weighted_quantile
from tapeout.serving.split import SALT, is_fit_curve, require_fit_part
from tapeout.serving.steady import TOKEN_BUDGET, mixture

if str(Path(__file__).parent) not in sys.path:
    sys.path.insert(0, str(Path(__file__).parent))
from hierarchical import Problem, Solution, solve
from shipping import endtoend_provenance, today

OUT = Path(__file__).parents[1] / "src/tapeout/perf/data/constants.json"
ROUNDS = 2  # the number of decoding sequences is predicted with the constants of the round before
FOLDS = 5
FOLD_STEPS = 12  # a fold starts at the constants of the whole fit part

CONSTANTS = {
    # name: (median, log sd, unit, meaning, why)
    "product_factor": (1.1, 0.15, "ratio", "time of matrix products over the operator law",
                       "served products share caches and power with their neighbours"),
    "expert_factor": (1.2, 0.2, "ratio", "time of expert products over the operator law",
                      "uneven experts, rows gathered and scattered"),
    "memory_efficiency": (0.80, 0.15, "ratio", "sustained over nominal bandwidth, small operators",
                          "0.73-0.89 fitted to GEMM rows of A100, H100, B200"),
    "cache_efficiency": (0.65, 0.25, "ratio", "sustained over nominal bandwidth, keys and values",
                         "decode attention reaches less than GEMM; assumption"),
    "compute_efficiency": (0.50, 0.3, "ratio", "sustained over dense peak, small operators",
                           "assumption; they are bound by memory"),
    "attention_efficiency": (0.40, 0.4, "ratio", "sustained over dense peak, attention",
                             "best prefill kernels 0.6-0.75, causal tiles and short rows less"),
    "kernel_s": (3e-6, 0.7, "s", "gap of one kernel in a captured graph, beside the launch "
                 "inside the law of products",
                 "1-2.5 us a node of a graph, small kernels beside it"),
    "expert_kernels": (4.0, 0.7, "1", "kernels of a layer with experts beside those listed",
                       "a mixture layer starts about 15, 11 of them listed"),
    "latent_kernels": (3.0, 0.7, "1", "kernels of a latent-attention layer beside those listed",
                       "latent attention with experts starts 20 and more, 17 of them listed"),
    "eager_s": (2e-5, 0.5, "s", "least time of one kernel without a graph",
                "5-20 us a kernel launched by the host"),
    "sequence_s": (8e-6, 0.7, "s", "host time for one sequence of a step",
                   "0.2-5 ms a step in real engines"),
    "step_s": (5e-4, 1.0, "s", "fixed host time of a step", "0.2-5 ms a step in real engines"),
    "hop_s": (3e-6, 0.4, "s", "one phase of a collective on a scale-up link",
              "custom all-reduce in a graph 4.6-7.3 us, less its launch"),
    "link_efficiency": (0.80, 0.2, "ratio", "sustained over nominal link rate, large messages",
                        "0.81-0.90 fitted to NCCL on three chips"),
}  # fmt: skip
NOT_FITTED = {
    "ramp_bytes": ("B", "message size at half of that; NCCL on A100, H100, B200: 8.1, 3.9, 9.9 MB"),
    "ramp_exponent": ("1", "steepness of the ramp; NCCL: 0.40, 0.44, 0.39"),
    "overlap_fraction": ("fraction", "share of a collective that hides behind other work"),
}
NOT_FITTED_WHY = {
    "overlap_fraction": "not fitted: the fitted latency and link efficiency contain what engines "
    "hide",
}
NAMES = tuple(CONSTANTS)
START = np.log([CONSTANTS[name][0] for name in NAMES])
SPREAD = np.array([CONSTANTS[name][1] for name in NAMES])
BASE = load_fit().generic  # the ramp is not fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """All curves side by side: steps are the decode steps of a curve, then its carrying steps."""

    work: Work
    sends: tuple[tuple[System, str, int, Floats, Floats, Ints], ...]
    decode: Ints
    carry: Ints
    carrying: Floats
    measured_s: Floats
    weights: Floats
    keys: tuple[tuple[str, ...], ...]


def pack(curves: Sequence[Curve], decoding: Sequence[Floats]) -> Packed:
    """Prepare every curve and pad its operators to the longest table."""
    require_fit_part([case for curve in curves for case in curve.cases])
    mixes = [
        mixture(curve.lengths, count, float(TOKEN_BUDGET * curve.placement.data_parallel))
        for curve, count in zip(curves, decoding, strict=True)
    ]
    ready = [prepare(c.placement, m.steps) for c, m in zip(curves, mixes, strict=True)]
    depth = max(len(one.work.kinds) for one in ready)

    def column(name: str) -> Floats:
        parts = [getattr(one.work, name) for one in ready]
        return np.concatenate(
            [
                np.pad(
                    np.broadcast_to(part, (part.shape[0], one.work.sequences.size)),
                    ((0, depth - part.shape[0]), (0, 0)),
                )
                for part, one in zip(parts, ready, strict=True)
            ],
            axis=1,
        )

    def side(name: str) -> Floats:
        return np.concatenate([getattr(one.work, name) for one in ready])

    work = Work(
        kinds=("",) * depth,
        group=column("group"),
        compute_s=column("compute_s"),
        memory_s=column("memory_s"),
        cache_s=column("cache_s"),
        product_s=column("product_s"),
        launches=column("launches"),
        expert_layers=side("expert_layers"),
        latent_layers=side("latent_layers"),
        sequences=side("sequences"),
        eager=side("eager"),
    )
    points = [len(curve.cases) for curve in curves]
    starts = 2 * np.concatenate([[0], np.cumsum(points)[:-1]]).astype(int)
    return Packed(
        work=work,
        sends=_sends(curves, ready, starts),
        decode=np.concatenate([s + np.arange(n) for s, n in zip(starts, points, strict=True)]),
        carry=np.concatenate([s + n + np.arange(n) for s, n in zip(starts, points, strict=True)]),
        carrying=np.concatenate([mix.carrying for mix in mixes]),
        measured_s=np.concatenate([curve.column("measured_tpot_s") for curve in curves]),
        weights=curve_weights([curve.key for curve in curves for _ in curve.cases]),
        keys=tuple(
            software_of(curve.placement).effect_keys() for curve in curves for _ in curve.cases
        ),
    )


def _sends(
    curves: Sequence[Curve], ready: Sequence[object], starts: Ints
) -> tuple[tuple[System, str, int, Floats, Floats, Ints], ...]:
    """Messages of all curves, joined where chip, operation and ranks agree."""
    joined: dict[tuple[str, str, int], list[tuple[System, Floats, Floats, Ints]]] = {}
    for curve, one, start in zip(curves, ready, starts, strict=True):
        system = curve.placement.system
        for message in one.messages:  # type: ignore[attr-defined]
            key = (system.chip.name, str(message.operation), message.ranks)
            steps = start + np.arange(message.calls.size)
            entry = (system, message.message_bytes, message.calls, steps)
            joined.setdefault(key, []).append(entry)
    return tuple(
        (
            parts[0][0],
            operation,
            ranks,
            np.concatenate([part[1] for part in parts]),
            np.concatenate([part[2] for part in parts]),
            np.concatenate([part[3] for part in parts]),
        )
        for (_, operation, ranks), parts in joined.items()
    )


def constants_of(point: Floats) -> StackConstants:
    """Constants at a point of the search (natural logarithms)."""
    return replace(BASE, **dict(zip(NAMES, np.exp(point).tolist(), strict=True)))


def tpot_s(packed: Packed, constants: StackConstants) -> Floats:
    """Mean step time of every point."""
    steps = packed.work.sequences.size
    fabric = np.zeros(steps)
    for system, operation, ranks, size, calls, place in packed.sends:
        topology = system_topology(system, ranks, constants.link_quality)
        once = collective_s(operation, size, ranks, topology)
        fabric += np.bincount(place, weights=calls * once, minlength=steps)
    total = step_times(packed.work, fabric, constants).total_s
    share = packed.carrying
    return (1.0 - share) * total[packed.decode] + share * total[packed.carry]


def problem_of(packed: Packed) -> Problem:
    """The fit of these curves."""
    return Problem(
        log_law=lambda point: np.log(tpot_s(packed, constants_of(point))),
        log_measured=np.log(packed.measured_s),
        weights=packed.weights,
        keys=packed.keys,
        effect_sd=[sd for _, sd in LEVELS],
        prior=START,
        prior_sd=SPREAD,
    )


def decoding_of(curves: Sequence[Curve], model: PhysicalModel) -> list[Floats]:
    """Sequences decoding at every point, as the model predicts them."""
    return [curve.steady(model).decoding for curve in curves]


def model_of(
    constants: StackConstants, effects: Mapping[str, float] | None = None
) -> PhysicalModel:
    """Timing model with these constants."""
    blank = Spread(stack=0.0, model=0.0, software=0.0, chip=0.0, common=0.0)
    fit = Fit(fitted=today(), generic=constants, effects=effects or {}, spread=blank)
    return PhysicalModel(fit=fit)


def fit_curves(curves: Sequence[Curve], start: Floats | None = None, steps: int = 30) -> Solution:
    """Fit constants and effects to curves of the fit part.

    Raises
    ------
    InfeasibleError
        A curve of the report part is among them.
    """
    model = model_of(constants_of(START if start is None else start))
    for _ in range(ROUNDS if start is None else 1):
        packed = pack(curves, decoding_of(curves, model))
        found = solve(problem_of(packed), start, steps)
        start = found.point
        model = model_of(constants_of(start), found.effects)
    return found


def model_from(found: Solution) -> PhysicalModel:
    """Timing model of a fit."""
    return model_of(constants_of(found.point), found.effects)


Errors = dict[str, tuple[Floats, list[str]]]


def log_ratios(curves: Sequence[Curve], model: PhysicalModel) -> Errors:
    """log(predicted / measured) of TPOT, throughput and TTFT, and the curve of every row."""
    names = [curve.key for curve in curves for _ in curve.cases]
    found: dict[str, list[Floats]] = {"tpot": [], "throughput": [], "ttft": []}
    for curve in curves:
        predicted = curve.predict(model)
        found["tpot"].append(np.log(predicted.tpot_s / curve.column("measured_tpot_s")))
        rate = predicted.output_tokens_per_s_per_chip
        measured = curve.column("measured_output_tokens_per_s_per_chip")
        found["throughput"].append(np.log(rate / measured))
        found["ttft"].append(np.log(predicted.ttft_s / curve.column("measured_ttft_s")))
    return {name: (np.concatenate(parts), names) for name, parts in found.items()}


def chip_of(curve: Curve) -> str:
    """Catalogue name of the chip of a curve."""
    return curve.placement.system.chip.name


def served_model(curve: Curve) -> str:
    """Name of the model of a curve."""
    return curve.placement.architecture.name


def fold_of(curve: Curve) -> str:
    """Fold of a curve of the fit part, by a hash of its key."""
    digest = hashlib.sha256(f"fold|{SALT}|{curve.key}".encode()).digest()
    return str(digest[0] % FOLDS)


def left_out(
    seen: Sequence[Curve],
    scored: Sequence[Curve],
    name: Callable[[Curve], str],
    start: Floats,
) -> dict[str, tuple[list[Curve], PhysicalModel]]:
    """Fit without each value of `name`; the scored curves that have it, and the model for them.

    `seen` are curves of the fit part; `scored` may be the same (folds) or the report part.
    """
    found = {}
    for value in sorted({name(curve) for curve in scored}):
        rest = [curve for curve in seen if name(curve) != value]
        chosen = [curve for curve in scored if name(curve) == value]
        found[value] = (chosen, model_from(fit_curves(rest, start, FOLD_STEPS)))
    return found


def pooled(parts: Mapping[str, tuple[list[Curve], PhysicalModel]]) -> Errors:
    """Errors of all values together."""
    ratios: dict[str, list[Floats]] = {}
    names: list[str] = []
    for curves, model in parts.values():
        for what, (values, _) in log_ratios(curves, model).items():
            ratios.setdefault(what, []).append(values)
        names.extend(curve.key for curve in curves for _ in curve.cases)
    return {what: (np.concatenate(values), names) for what, values in ratios.items()}


def without_software(model: PhysicalModel) -> PhysicalModel:
    """Keep the effects of the vendor only, as for an engine nobody measured."""
    known = {key: value for key, value in model.fit.effects.items() if key.startswith("vendor ")}
    return PhysicalModel(fit=replace(model.fit, effects=known))


def folds_of(seen: Sequence[Curve], start: Floats) -> dict[str, Errors]:
    """Errors of the fit part with curves, models and chips left out, by what is then known."""
    curves = left_out(seen, seen, fold_of, start)
    unknown = {key: (some, without_software(model)) for key, (some, model) in curves.items()}
    return {
        "stack": pooled(curves),
        "software": pooled(unknown),
        "model": pooled(left_out(seen, seen, served_model, start)),
        "chip": pooled(left_out(seen, seen, chip_of, start)),
    }


def spread_of(folds: Mapping[str, Errors], seen: Sequence[Curve]) -> dict[str, float]:
    """Widths in log units from 80 % quantiles of the absolute error of the folds.

    The part that chips share is the share of the variance of curve medians, chips left out, that
    goes with the model served.
    """
    widths = {}
    for name, errors in folds.items():
        values, keys = errors["tpot"]
        quantile = weighted_quantile(np.abs(values), curve_weights(keys), 0.8)
        widths[name] = round(quantile / Z80, 4)
    values, keys = folds["chip"]["tpot"]
    model = {curve.key: served_model(curve) for curve in seen}
    medians: dict[str, list[float]] = {}
    for key in dict.fromkeys(keys):
        inside = values[np.array([one == key for one in keys])]
        medians.setdefault(model[key], []).append(float(np.clip(np.median(inside), -0.7, 0.7)))
    between = sum(len(some) * float(np.mean(some)) ** 2 for some in medians.values())
    whole = sum(float(np.square(some).sum()) for some in medians.values())
    # What chips share cannot exceed the narrowest of the errors it is a part of.
    common = min(widths["chip"] * math.sqrt(between / whole), *widths.values())
    return {**widths, "common": round(common, 4)}


def summary_of(error: ErrorSummary) -> dict[str, float]:
    """One error summary as JSON, four digits."""
    return {f.name: round(getattr(error, f.name), 4) for f in fields(error)}


def main() -> int:
    """Fit, print errors of the folds and write; 2 when the data are absent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    options = parser.parse_args()
    try:
        curves = scored_curves(read_rows(options.data))
    except InfeasibleError as error:
        print(error, file=sys.stderr)
        return 2
    seen = sorted((c for c in curves if is_fit_curve(c.key)), key=lambda curve: curve.key)
    found = fit_curves(seen)
    folds = folds_of(seen, found.point)
    errors = {}
    for name, some in folds.items():
        for what, pair in some.items():
            error = summarise(*pair)
            errors[f"fold {name}, {what}"] = summary_of(error)
            print(f"fold {name}, {what}: {error.words()}", flush=True)
    write(found, spread_of(folds, seen), errors, options.data)
    return 0


def write(
    found: Solution,
    spread: Mapping[str, float],
    errors: Mapping[str, Mapping[str, float]],
    data: Path,
) -> None:
    """Write the shipped file."""
    sd = np.sqrt(np.diag(found.covariance))
    values = constants_of(found.point)
    known: dict[str, dict[str, object]] = {}
    for place, (name, (_, _, unit, what, why)) in enumerate(CONSTANTS.items()):
        value = float(f"{getattr(values, name):.4g}")
        known[name] = {"value": value, "log_sd": round(float(sd[place]), 4), "unit": unit}
        known[name] |= {"what": what, "prior": why}
    for name, (unit, what) in NOT_FITTED.items():
        known[name] = {"value": getattr(values, name), "unit": unit, "what": what}
        known[name]["prior"] = NOT_FITTED_WHY.get(name, "not fitted")
    about = endtoend_provenance("tools/fit_perf.py", data)
    content = {
        "schema": 2,
        "fitted": today(),
        "provenance": about,
        "source": {
            "table": ENDTOEND,
            "sha256": about["sha256"][ENDTOEND],
            "method": about["tool"],
            "attribution": "InferenceX data (SemiAnalysis), unofficial copy; Google TPU recipes",
            "scored": "quality A or B, aggregated, no speculation, TPOT present",
        },
        "constants": known,
        "covariance_log": np.round(found.covariance, 6).tolist(),
        "effects": {key: round(value, 4) for key, value in sorted(found.effects.items())},
        "spread": dict(spread),
        "errors": dict(errors),
    }
    OUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {OUT}")


if __name__ == "__main__":
    sys.exit(main())
