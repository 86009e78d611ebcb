"""Joules of a step: static power, arithmetic, memory and links, never above rated power.

Form of reference section 3 with the levels that matter for whole chips. Every constant is a row
of data/energy.csv with its source.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from tapeout.chip.types import ChipSpec
from tapeout.numerics import Floats
from tapeout.perf.sharding import Shard

UNKNOWN_NODE_NM = 5.0  # assumption: a chip without a stated node is of the 5 nm class
UNKNOWN_MEMORY = "hbm3"


@cache
def energy_constants() -> dict[str, float]:
    """Read data/energy.csv: key to value in J/FLOP, J/B or as a ratio."""
    text = resources.files("tapeout.perf").joinpath("data/energy.csv").read_text("utf-8")
    return {row["key"]: float(row["value"]) for row in csv.DictReader(text.splitlines())}


@cache
def flop_j(dtype: str, process_nm: float) -> float:
    """Energy of one floating-point operation with its operands, dynamic part. [J].

    The nearest node of the table is taken.

    Examples
    --------
    >>> flop_j("fp8", 5.0) < flop_j("bf16", 5.0) < flop_j("bf16", 7.0)
    True
    """
    table = energy_constants()
    nodes = {float(k[5:-2]): v for k, v in table.items() if k.startswith("flop.")}
    node = process_nm or UNKNOWN_NODE_NM
    nearest = min(nodes, key=lambda known: abs(np.log(known / node)))
    return nodes[nearest] * table.get(f"dtype.{dtype}", 1.0)


def memory_j_per_byte(memory_kind: str) -> float:
    """Energy of one byte from main memory to the arithmetic units. [J/B]."""
    table = energy_constants()
    kind = memory_kind.lower()
    known = ("hbm2e", "hbm2", "hbm3e", "hbm3", "hbm4", "gddr", "sram", "ddr")
    name = next((k for k in known if k in kind), UNKNOWN_MEMORY)
    delivery = 1.0 if name == "sram" else table["memory.delivery"]
    return table[f"memory.{name}"] * delivery


def static_w(chip: ChipSpec) -> float:
    """Power of a serving chip that moves and computes nothing. [W]."""
    return max(chip.idle_w, energy_constants()["static.fraction"] * chip.tdp_w)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnergy:
    """Joules of one average chip; arrays have shape (step,). The parts add up to total_j."""

    static_j: Floats
    arithmetic_j: Floats
    memory_j: Floats
    fabric_j: Floats
    total_j: Floats


def step_energy(
    chip: ChipSpec, shard: Shard, dtypes: tuple[str, ...], sent_bytes: Floats, time_s: Floats
) -> StepEnergy:
    """Energy of one average chip in a step.

    Power above the rated one is cut off (a real chip lowers its clock instead; the fitted compute
    efficiency contains that); the parts are then scaled so that they add up.

    Parameters
    ----------
    chip : ChipSpec
        `tdp_w` 0 means unknown: no static part and no limit.
    shard : Shard
    dtypes : tuple of str, one an operator
    sent_bytes, time_s : array, shape (step,)
    """
    per_flop = np.array([flop_j(dtype, chip.process_nm) for dtype in dtypes])
    arithmetic = energy_constants()["arithmetic.delivery"] * (per_flop @ shard.mean_flop)
    memory = memory_j_per_byte(chip.memory_kind) * shard.mean_bytes.sum(axis=0)
    fabric = energy_constants()["link.switch"] * sent_bytes
    static = static_w(chip) * time_s
    total = static + arithmetic + memory + fabric
    limit = chip.tdp_w * time_s if chip.tdp_w > 0.0 else total
    cut = np.where(total > 0.0, np.minimum(1.0, limit / np.maximum(total, 1e-30)), 1.0)
    return StepEnergy(
        static_j=static * cut,
        arithmetic_j=arithmetic * cut,
        memory_j=memory * cut,
        fabric_j=fabric * cut,
        total_j=total * cut,
    )
