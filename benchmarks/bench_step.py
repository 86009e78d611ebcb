"""Step evaluations per CPU second: distinct batch, context and chip, breakdown included."""

from __future__ import annotations

import time

import numpy as np

from tapeout.catalog import load
from tapeout.chip import spec_from_record
from tapeout.fabric import usual_system
from tapeout.perf import PhysicalModel, Placement, serving_formats, step_mix
from tapeout.workload import load_model

CHIPS = ("h100", "b200", "mi355x", "tpu v6e")
MODEL = "llama-3.1-70b"
BATCHES, CONTEXTS = 128, 160
CHUNK = 4096  # steps of one call: operators of that many stay in the cache of a core
DEGREE = 8


def placement_on(chip: str) -> Placement:
    """Eight chips, tensor parallel, in the format usual on the chip."""
    architecture = load_model(MODEL)
    system = usual_system(spec_from_record(load().chip(chip)))
    return Placement(
        architecture=architecture,
        system=system,
        formats=serving_formats(system.chip, architecture),
        tensor_parallel=DEGREE,
    )


def step_evals_per_cpu_s(batches: int = BATCHES, contexts: int = CONTEXTS) -> float:
    """Distinct decode steps per CPU second of one thread; placements and compilation left out.

    Every step is timed and its time and energy divided among kinds and operators, which is what
    a call returns; the first call of each chip, on other steps, is left out.
    """
    batch = np.rint(np.geomspace(1.0, 4096.0, batches)) + np.arange(batches)  # distinct
    context = np.linspace(128.0, 32768.0, contexts)
    model = PhysicalModel()
    places = [placement_on(chip) for chip in CHIPS]
    for place in places:
        model.step_cost(place, step_mix(decode=np.array([3.0]), context=np.array([77.0])))
    every = [grid.ravel() for grid in np.meshgrid(batch, context)]
    began = time.process_time()
    for place in places:
        for start in range(0, every[0].size, CHUNK):
            some = slice(start, start + CHUNK)
            cost = model.step_cost(place, step_mix(decode=every[0][some], context=every[1][some]))
            if not (cost.by_kind_s and cost.by_operator_s):
                raise AssertionError("no breakdown")
    return len(places) * every[0].size / (time.process_time() - began)


if __name__ == "__main__":
    print(f"step_evals_per_cpu_s {max(step_evals_per_cpu_s() for _ in range(3)):.3g}")
