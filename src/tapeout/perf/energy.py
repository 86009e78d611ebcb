"""Joules of a step by where they go, never above rated power.

Form of reference timing section 3: idle power (leakage and what runs without work), awake power
(clocks and schedulers of a chip that serves), arithmetic with operand delivery, on-chip memory,
main memory and links. Every constant is a row of data/energy.csv with its source; those marked
as fitted come from tools/fit_energy.py.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources

import numpy as np

from tapeout.chip.types import ChipSpec
from tapeout.numerics import Floats
from tapeout.perf.sharding import Shard
from tapeout.workload import FORMAT_BYTES

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


def sram_bytes(flop: Floats, moved_bytes: Floats, element_bytes: Floats) -> Floats:
    """Bytes through the large on-chip memory, same shape as flop. [B].

    What main memory delivers passes once; a product cut into tiles of T x T reads each operand
    element 1/T times per multiply-add, so element_bytes/T bytes per FLOP.

    Parameters
    ----------
    flop, moved_bytes : array, shape (op, step)
    element_bytes : array, shape (op, 1)
        Bytes of one operand element.
    """
    reread: Floats = flop * element_bytes / energy_constants()["sram.tile"]
    return moved_bytes + reread


def idle_w(chip: ChipSpec) -> float:
    """Power of a chip that is on and has no work: its own where stated, else a share. [W]."""
    return chip.idle_w or energy_constants()["idle.fraction"] * chip.tdp_w


def awake_w(chip: ChipSpec) -> float:
    """Power that serving adds to `idle_w` before anything is computed or moved. [W]."""
    return max(0.0, energy_constants()["static.fraction"] * chip.tdp_w - idle_w(chip))


def static_w(chip: ChipSpec) -> float:
    """Power of a serving chip that moves and computes nothing: idle and awake together. [W]."""
    return idle_w(chip) + awake_w(chip)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepEnergy:
    """Joules of one average chip by part; arrays have shape (step,)."""

    idle_j: Floats
    awake_j: Floats
    arithmetic_j: Floats
    sram_j: Floats
    memory_j: Floats
    fabric_j: Floats

    @property
    def core_j(self) -> Floats:
        """What follows the voltage of the cores: arithmetic and on-chip memory."""
        core: Floats = self.arithmetic_j + self.sram_j
        return core

    @property
    def static_j(self) -> Floats:
        """What time alone costs."""
        static: Floats = self.idle_j + self.awake_j
        return static

    @property
    def total_j(self) -> Floats:
        """Sum of the parts."""
        total: Floats = self.static_j + self.core_j + self.memory_j + self.fabric_j
        return total

    def parts(self) -> dict[str, Floats]:
        """Every part by name; they add up to `total_j`."""
        return {one.name.removesuffix("_j"): getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorEnergy:
    """Nominal dynamic joules of one average chip by operator; arrays have shape (op, step)."""

    arithmetic_j: Floats
    sram_j: Floats
    memory_j: Floats

    @property
    def total_j(self) -> Floats:
        """Sum of the parts, shape (op, step)."""
        total: Floats = self.arithmetic_j + self.sram_j + self.memory_j
        return total


def operator_energy(
    chip: ChipSpec, dtypes: tuple[str, ...], flop: Floats, moved_bytes: Floats
) -> OperatorEnergy:
    """Energy of operators at nominal voltage, without what time and links cost.

    Parameters
    ----------
    chip : ChipSpec
    dtypes : tuple of str, one an operator
    flop, moved_bytes : array, shape (op, step)
        Useful FLOP, and bytes through main memory, of the average chip.
    """
    table = energy_constants()
    per_flop = np.array([flop_j(dtype, chip.process_nm) for dtype in dtypes])[:, None]
    element = np.array([FORMAT_BYTES.get(dtype, 2.0) for dtype in dtypes])[:, None]
    on_chip = sram_bytes(flop, moved_bytes, element)
    if "sram" in chip.memory_kind.lower():  # main memory is the on-chip one: counted once
        on_chip = on_chip - moved_bytes
    return OperatorEnergy(
        arithmetic_j=table["arithmetic.delivery"] * per_flop * flop,
        sram_j=table["memory.sram"] * on_chip,
        memory_j=memory_j_per_byte(chip.memory_kind) * moved_bytes,
    )


def work_energy(
    chip: ChipSpec, shard: Shard, dtypes: tuple[str, ...], sent_bytes: Floats, time_s: Floats
) -> StepEnergy:
    """Energy of one average chip in a step at nominal voltage, without any limit.

    Parameters
    ----------
    chip : ChipSpec
        `tdp_w` 0 means unknown: no static part, unless the chip states its idle power.
    shard : Shard
    dtypes : tuple of str, one an operator
    sent_bytes, time_s : array, shape (step,)
    """
    work = operator_energy(chip, dtypes, shard.mean_flop, shard.mean_bytes)
    return StepEnergy(
        idle_j=idle_w(chip) * time_s,
        awake_j=awake_w(chip) * time_s,
        arithmetic_j=work.arithmetic_j.sum(axis=0),
        sram_j=work.sram_j.sum(axis=0),
        memory_j=work.memory_j.sum(axis=0),
        fabric_j=energy_constants()["link.switch"] * sent_bytes,
    )


def rated_cut(energy: StepEnergy, limit_j: Floats) -> StepEnergy:
    """Keep a step below rated power x time, the time given: a lower voltage for the same work.

    A measured time already contains the clock that the rating allowed, so only the energy falls.
    What exceeds the limit comes off arithmetic and on-chip memory first, whose voltage a chip
    lowers; where the rest alone is above the limit, every other part is scaled.

    Parameters
    ----------
    energy : StepEnergy
    limit_j : array, shape (step,)
        Rated power times step time; infinite where no rating is known. [J]
    """
    rest = energy.static_j + energy.memory_j + energy.fabric_j
    core = np.clip(limit_j - rest, 0.0, energy.core_j)
    tiny = np.finfo(float).tiny
    share = np.where(energy.core_j > 0.0, core / np.maximum(energy.core_j, tiny), 1.0)
    scale = np.minimum(1.0, limit_j / np.maximum(rest, tiny))
    return StepEnergy(
        idle_j=energy.idle_j * scale,
        awake_j=energy.awake_j * scale,
        arithmetic_j=energy.arithmetic_j * share,
        sram_j=energy.sram_j * share,
        memory_j=energy.memory_j * scale,
        fabric_j=energy.fabric_j * scale,
    )


def step_energy(
    chip: ChipSpec, shard: Shard, dtypes: tuple[str, ...], sent_bytes: Floats, time_s: Floats
) -> StepEnergy:
    """Energy of one average chip in a step, rated power respected.

    Parameters
    ----------
    chip : ChipSpec
        `tdp_w` 0 means unknown: no limit.
    shard : Shard
    dtypes : tuple of str, one an operator
    sent_bytes, time_s : array, shape (step,)
    """
    energy = work_energy(chip, shard, dtypes, sent_bytes, time_s)
    limit = chip.tdp_w * time_s if chip.tdp_w > 0.0 else np.full_like(time_s, np.inf)
    return rated_cut(energy, limit)
