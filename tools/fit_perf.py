"""Fit the constants of the timing law: python tools/fit_perf.py DATA.

Reads DATA/measured/endtoend.csv, fits to the fit part of its scored curves (serving.split; rows
of the report part are refused), reports errors on the report part and with each chip and model
left out, and writes src/tapeout/perf/data/constants.json.

The form of the law, the loss and the weight of the prior were chosen while errors of both parts
were in view, and the folds that leave a chip or a model out inherit that form and start from the
fit to the rest; benchmarks/law_trials.csv lists what was tried.

Loss: half the mean clipped |log(predicted / measured TPOT)|, plus the same after the weighted
median of each (engine, chip, model, precision) is taken out, every curve weighing the same. The
second term lets load, lengths and parallelism shape the constants where software differs by a
factor; a weak log-normal prior (PRIOR) keeps what the data do not fix where other measurements
put it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize

from tapeout.constants import Z80
from tapeout.errors import InfeasibleError
from tapeout.fabric import System, collective_s, system_topology
from tapeout.numerics import Floats, Ints
from tapeout.perf import Fit, PhysicalModel, StackConstants, effect_keys, load_fit, prepare
from tapeout.perf.law import Work, step_times
from tapeout.serving.measured import ENDTOEND, Curve, read_rows, scored_curves
from tapeout.serving.scoring import ErrorSummary, curve_weights, summarise, weighted_quantile
from tapeout.serving.split import FIT_SHARE, SALT, is_fit_curve, require_fit_part
from tapeout.serving.steady import TOKEN_BUDGET, mixture

OUT = Path(__file__).parents[1] / "src/tapeout/perf/data/constants.json"
FITTED = "2026-11-24"
CLIP = 0.7
PRIOR_WEIGHT = 0.001
ROUNDS = 2  # the number of decoding sequences is predicted with the constants of the round before
SHRINK = (6.0, 3.0, 2.0)  # curves at which the effect of a level is believed to a half

PRIOR = {
    # constant: (median, log sd, why)
    "memory_efficiency": (0.80, 0.15, "0.73-0.89 fitted to GEMM rows of A100, H100, B200"),
    "cache_efficiency": (0.70, 0.2, "decode attention reaches less than GEMM; assumption"),
    "compute_efficiency": (0.60, 0.3, "best GEMM 0.76-0.96 of peak, attention and tiles less"),
    "kernel_s": (4e-6, 0.7, "1.7-3.3 us a GEMM in a graph, small kernels beside it"),
    "eager_s": (1.5e-5, 0.5, "5-20 us a kernel launched by the host"),
    "sequence_s": (8e-6, 0.7, "0.2-5 ms a step in real engines"),
    "step_s": (5e-4, 1.0, "0.2-5 ms a step in real engines"),
    "hop_s": (3e-6, 0.4, "custom all-reduce in a graph 4.6-7.3 us, less its launch"),
    "link_efficiency": (0.85, 0.2, "0.81-0.90 fitted to NCCL on three chips"),
}
MEANING = {
    "memory_efficiency": ("ratio", "sustained over nominal memory bandwidth, weights, activations"),
    "cache_efficiency": ("ratio", "sustained over nominal memory bandwidth, keys and values"),
    "compute_efficiency": ("ratio", "sustained over dense peak"),
    "kernel_s": ("s", "gap of one kernel in a captured graph"),
    "eager_s": ("s", "least time of one kernel without a graph"),
    "sequence_s": ("s", "host time for one sequence of a step"),
    "step_s": ("s", "fixed host time of a step"),
    "hop_s": ("s", "one phase of a collective on a scale-up link"),
    "link_efficiency": ("ratio", "sustained over nominal link rate, very large messages"),
    "ramp_bytes": ("B", "message size at half of that; NCCL on A100, H100, B200: 8.1, 3.9, 9.9 MB"),
    "ramp_exponent": ("1", "steepness of the ramp; NCCL: 0.40, 0.44, 0.39"),
}
NAMES = tuple(PRIOR)
START = np.log([PRIOR[name][0] for name in NAMES])
SPREAD = np.array([PRIOR[name][1] for name in NAMES])
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
    groups: tuple[Ints, ...]


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
            [np.pad(part, ((0, depth - part.shape[0]), (0, 0))) for part in parts], axis=1
        )

    work = Work(
        kinds=("",) * depth,
        compute_s=column("compute_s"),
        memory_s=column("memory_s"),
        cache_s=column("cache_s"),
        launches=column("launches"),
        sequences=np.concatenate([one.work.sequences for one in ready]),
        eager=np.concatenate([one.work.eager for one in ready]),
    )
    points = [len(curve.cases) for curve in curves]
    starts = 2 * np.concatenate([[0], np.cumsum(points)[:-1]]).astype(int)
    keys = [
        "|".join((c.cases[0].engine, c.cases[0].chip, c.cases[0].model, c.cases[0].precision))
        for c in curves
    ]
    group = np.repeat(np.unique(keys, return_inverse=True)[1], points)
    return Packed(
        work=work,
        sends=_sends(curves, ready, starts),
        decode=np.concatenate([s + np.arange(n) for s, n in zip(starts, points, strict=True)]),
        carry=np.concatenate([s + n + np.arange(n) for s, n in zip(starts, points, strict=True)]),
        carrying=np.concatenate([mix.carrying for mix in mixes]),
        measured_s=np.concatenate([curve.column("measured_tpot_s") for curve in curves]),
        weights=curve_weights([curve.key for curve in curves for _ in curve.cases]),
        groups=tuple(np.flatnonzero(group == g) for g in range(group.max() + 1)),
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


def loss(point: Floats, packed: Packed) -> float:
    """Loss of the module's docstring."""
    ratio = np.log(tpot_s(packed, constants_of(point)) / packed.measured_s)
    centred = ratio.copy()
    for group in packed.groups:
        centred[group] -= weighted_quantile(ratio[group], packed.weights[group], 0.5)
    weights = packed.weights / packed.weights.sum()
    level = float(weights @ np.minimum(np.abs(ratio), CLIP))
    shape = float(weights @ np.minimum(np.abs(centred), CLIP))
    prior = float(np.square((point - START) / SPREAD).sum())
    return 0.5 * level + shape + PRIOR_WEIGHT * prior


def search(packed: Packed, start: Floats, evaluations: int) -> Floats:
    """Nelder-Mead, restarted once."""
    best = start
    for step in (0.3, 0.15):
        simplex = np.vstack([best, *(best + step * axis for axis in np.eye(best.size))])
        best = minimize(
            loss,
            best,
            args=(packed,),
            method="Nelder-Mead",
            options={
                "maxfev": evaluations,
                "xatol": 1e-3,
                "fatol": 1e-6,
                "adaptive": True,
                "initial_simplex": simplex,
            },
        ).x
    return best


def decoding_of(curves: Sequence[Curve], model: PhysicalModel) -> list[Floats]:
    """Sequences decoding at every point, as the model predicts them."""
    return [curve.predict(model).decoding for curve in curves]


def model_of(constants: StackConstants, effects: dict[str, float] | None = None) -> PhysicalModel:
    """Timing model with these constants."""
    fit = Fit(
        fitted=FITTED, generic=constants, effects=effects or {}, common_log_sd=0.0, own_log_sd=0.0
    )
    return PhysicalModel(fit=fit)


def fit_constants(curves: Sequence[Curve], start: Floats, evaluations: int) -> Floats:
    """Fit to curves of the fit part."""
    point = start
    for _ in range(ROUNDS):
        counts = decoding_of(curves, model_of(constants_of(point)))
        point = search(pack(curves, counts), point, evaluations)
    return point


def log_ratios(
    curves: Sequence[Curve], model: PhysicalModel
) -> dict[str, tuple[Floats, list[str]]]:
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


def stack_effects(curves: Sequence[Curve], constants: StackConstants) -> dict[str, float]:
    """Log factors of vendor, engine on chip, and model on them, shrunk by the number of curves."""
    model = model_of(constants)
    residual = {
        curve.key: -float(
            np.median(np.log(curve.predict(model).tpot_s / curve.column("measured_tpot_s")))
        )
        for curve in curves
    }
    effects: dict[str, float] = {}
    keys = {
        curve.key: effect_keys(
            curve.placement.stack,
            curve.placement.system.chip.name,
            curve.placement.architecture.name,
        )
        for curve in curves
    }
    for level, shrink in enumerate(SHRINK):
        grouped: dict[str, list[str]] = {}
        for curve in curves:
            grouped.setdefault(keys[curve.key][level], []).append(curve.key)
        for key, members in grouped.items():
            values = np.clip([residual[member] for member in members], -1.0, 1.0)
            believed = len(members) / (len(members) + shrink)
            effects[key] = round(believed * float(np.median(values)), 4)
        for curve in curves:
            residual[curve.key] -= effects[keys[curve.key][level]]
    return dict(sorted(effects.items()))


def left_out(
    curves: Sequence[Curve], name: Callable[[Curve], str], start: Floats, evaluations: int
) -> tuple[dict[str, ErrorSummary], dict[str, Floats]]:
    """Errors of every chip (or model) predicted by constants fitted without it, all its rows.

    Not blind: the form of the law was chosen with all curves in view, and the search starts from
    the constants of the whole fit part.
    """
    errors: dict[str, ErrorSummary] = {}
    ratios: list[Floats] = []
    rates: list[Floats] = []
    keys: list[str] = []
    for value in sorted({name(curve) for curve in curves}):
        seen = [c for c in curves if name(c) != value and is_fit_curve(c.key)]
        unseen = [c for c in curves if name(c) == value]
        constants = constants_of(fit_constants(seen, start, evaluations))
        effects = stack_effects(seen, constants)
        found = log_ratios(unseen, model_of(constants, effects))
        errors[value] = summarise(*found["tpot"])
        ratios.append(found["tpot"][0])
        rates.append(found["throughput"][0])
        keys.extend(found["tpot"][1])
        print(f"  without {value}: {errors[value].words()}", flush=True)
    pooled = {"tpot": np.concatenate(ratios), "throughput": np.concatenate(rates)}
    errors["all"] = summarise(pooled["tpot"], keys)
    errors["all, throughput"] = summarise(pooled["throughput"], keys)
    return errors, pooled


def band(
    pooled: Floats, curves: Sequence[Curve], seen_chip: tuple[Floats, list[str]]
) -> dict[str, float]:
    """Widths in log units from 80 % quantiles of the absolute error.

    Chips left out give the width of a chip nobody measured; the fit part with the effect of the
    vendor alone that of a measured chip under software unknown. The part that chips share is
    the share of the variance of curve medians that goes with the model served.
    """
    order = sorted(curves, key=lambda c: c.placement.system.chip.name)
    names = [curve.key for curve in order for _ in curve.cases]
    whole = weighted_quantile(np.abs(pooled), curve_weights(names), 0.8) / Z80
    measured = weighted_quantile(np.abs(seen_chip[0]), curve_weights(seen_chip[1]), 0.8) / Z80
    ends = np.cumsum([len(curve.cases) for curve in order])
    medians = np.array([np.median(part) for part in np.split(pooled, ends[:-1])])
    medians = np.clip(medians, -CLIP, CLIP)
    models = np.array([curve.placement.architecture.name for curve in order])
    between = np.zeros_like(medians)
    for model in np.unique(models):
        between[models == model] = medians[models == model].mean()
    common = whole * math.sqrt(float(np.square(between).mean() / np.square(medians).mean()))
    return {
        "common_log_sd": round(common, 4),
        "own_log_sd": round(math.sqrt(max(measured**2 - common**2, 0.0)), 4),
        "own_log_sd_chip_left_out": round(math.sqrt(whole**2 - common**2), 4),
        "band_80_measured_chip": round(math.expm1(Z80 * measured), 3),
        "band_80_chip_left_out": round(math.expm1(Z80 * whole), 3),
    }


def summary_of(error: ErrorSummary) -> dict[str, float]:
    """One error summary as JSON, four digits."""
    return {f.name: round(getattr(error, f.name), 4) for f in fields(error)}


def main() -> int:
    """Fit, report and write; 2 when the data are absent."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--evaluations", type=int, default=2500)
    options = parser.parse_args()
    try:
        curves = scored_curves(read_rows(options.data))
    except InfeasibleError as error:
        print(error, file=sys.stderr)
        return 2
    curves.sort(key=lambda c: c.placement.system.chip.name)
    seen = [curve for curve in curves if is_fit_curve(curve.key)]
    reported = [curve for curve in curves if not is_fit_curve(curve.key)]
    point = fit_constants(seen, START, options.evaluations)
    constants = constants_of(point)
    effects = stack_effects(seen, constants)
    errors = report(seen, reported, constants, effects)
    fold = options.evaluations // 3
    print("chips left out")
    chips, pooled = left_out(curves, lambda c: c.placement.system.chip.name, point, fold)
    print("models left out")
    models, _ = left_out(curves, lambda c: c.cases[0].model, point, fold)
    for name, found in {"chip left out": chips, "model left out": models}.items():
        errors |= {f"{name}: {value}": summary_of(error) for value, error in found.items()}
        print(f"{name}: {found['all'].words()}")
    vendors = {key: value for key, value in effects.items() if "|" not in key}
    # the width comes from the fit part, so that the report part can judge it
    seen_chip = log_ratios(seen, model_of(constants, vendors))["tpot"]
    widths = band(pooled["tpot"], curves, seen_chip)
    write(constants, effects, errors, widths, options.data)
    return 0


def report(
    seen: Sequence[Curve],
    reported: Sequence[Curve],
    constants: StackConstants,
    effects: dict[str, float],
) -> dict[str, dict[str, float]]:
    """Errors on both parts, with and without what is known of the stack."""
    errors: dict[str, dict[str, float]] = {}
    for part, some in (("fit part", seen), ("report part", reported)):
        vendors = {key: value for key, value in effects.items() if "|" not in key}
        for name, known in (("global", {}), ("vendor", vendors), ("known stack", effects)):
            for what, found in log_ratios(some, model_of(constants, known)).items():
                error = summarise(*found)
                errors[f"{part}, {name}, {what}"] = summary_of(error)
                print(f"{part}, {name}, {what}: {error.words()}", flush=True)
    return errors


def write(
    constants: StackConstants,
    effects: dict[str, float],
    errors: dict[str, dict[str, float]],
    widths: dict[str, float],
    data: Path,
) -> None:
    """Write the shipped file."""
    table = data / ENDTOEND
    known = {
        name: {
            "value": float(f"{getattr(constants, name):.4g}"),
            "unit": unit,
            "what": what,
            "prior": PRIOR[name][2] if name in PRIOR else "not fitted",
        }
        for name, (unit, what) in MEANING.items()
    }
    content = {
        "schema": 1,
        "fitted": FITTED,
        "source": {
            "table": ENDTOEND,
            "sha256": hashlib.sha256(table.read_bytes()).hexdigest(),
            "attribution": "InferenceX data (SemiAnalysis), unofficial copy; Google TPU recipes",
            "scored": "quality A or B, aggregated, no speculation, TPOT present",
            "split": f"sha256 of '{SALT}|curve', {FIT_SHARE:.0%} fit",
            "method": "tools/fit_perf.py",
        },
        "constants": known,
        "effects": effects,
        "band": widths,
        "errors": errors,
    }
    OUT.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {OUT}")


if __name__ == "__main__":
    sys.exit(main())
