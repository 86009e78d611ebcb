"""Watts by denominator, and what a power cap does to clock, time and energy.

Reference timing section 3: dynamic power goes as clock x V^2, about clock^3 near nominal, so a
chip under a cap runs at the highest clock whose power stays below it. Arithmetic then takes
1/clock as long, memory and links do not.

Two limits are kept apart. The *rated* power is part of every measured time: the timing constants
were fitted to chips that already ran at whatever clock their rating allows, so
`energy.rated_cut` lowers the energy and leaves the time. A *cap* below that is news to the timing
law; `capped` finds the clock and stretches the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from tapeout.chip.types import ChipSpec
from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.perf.energy import StepEnergy, energy_constants, idle_w

BISECTIONS = 50  # of a clock in (0, 1]: to about 1e-15


class PowerScope(StrEnum):
    """What a figure in watts per chip is divided over; figures of two scopes never compare."""

    RATED = "rated"  # the package's nameplate (TDP)
    SUSTAINED = "sustained"  # mean draw of the package under load, as its own telemetry reads it
    ALL_IN = "all-in"  # sustained, with its share of host, NIC, fans and conversion: at the wall
    RACK = "rack"  # rated, with the same share: what a rack must be able to feed


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipPower:
    """Power of one chip under every denominator; nan where the rating is unknown. [W]."""

    rated_w: float
    sustained_w: float
    all_in_w: float
    rack_w: float

    def of(self, scope: PowerScope) -> float:
        """Figure of one scope."""
        return {
            PowerScope.RATED: self.rated_w,
            PowerScope.SUSTAINED: self.sustained_w,
            PowerScope.ALL_IN: self.all_in_w,
            PowerScope.RACK: self.rack_w,
        }[scope]


def chip_power(sustained_w: float, tdp_w: float, host_w: float) -> ChipPower:
    """Power of a chip by denominator.

    Parameters
    ----------
    sustained_w : float
        Mean draw of the package, e.g. energy of a step over its time. [W]
    tdp_w : float
        Rated power; 0 when unknown: rated and rack figures are then nan. [W]
    host_w : float
        Share of host, NIC, fans and conversion losses. [W]

    Examples
    --------
    >>> chip_power(600.0, 1000.0, 300.0).of(PowerScope.ALL_IN)
    900.0
    """
    rated = tdp_w if tdp_w > 0.0 else np.nan
    return ChipPower(
        rated_w=rated,
        sustained_w=sustained_w,
        all_in_w=sustained_w + host_w,
        rack_w=rated + host_w,
    )


def voltage_factor(clock: Floats) -> Floats:
    """Energy of one operation at a clock, relative to the nominal clock, same shape.

    Energy per operation goes as V^2. With power ~ clock^exponent it is clock^(exponent - 1), down
    to the clock at which the voltage has reached its floor; below, it no longer falls.

    Examples
    --------
    >>> float(voltage_factor(np.array(1.0)))
    1.0
    """
    table = energy_constants()
    at = np.maximum(clock, table["clock.voltage_floor"])
    factor: Floats = at ** (table["clock.exponent"] - 1.0)
    return factor


@dataclass(frozen=True, slots=True, kw_only=True)
class CappedStep:
    """Steps under a cap; arrays have shape (step,).

    Attributes
    ----------
    clock_fraction : array
        Clock over the one the same step has without the cap.
    time_s : array
        Stretched time, waits included. [s]
    waiting_s : array
        Part of it in which the chip stands still because even its lowest clock draws too much.
    energy : StepEnergy
    """

    clock_fraction: Floats
    time_s: Floats
    waiting_s: Floats
    energy: StepEnergy


def capped(
    chip: ChipSpec, energy: StepEnergy, time_at: Callable[[Floats], Floats], cap_w: float
) -> CappedStep:
    """Clock, time and energy of steps whose chip may draw at most `cap_w`.

    Power falls monotonically with the clock (awake power and energy per operation fall, the time
    does not), so the clock is found by bisection. At the lowest clock the chip idles in between.

    Parameters
    ----------
    chip : ChipSpec
    energy : StepEnergy
        Of the steps at the clock fraction 1, rated power respected.
    time_at : function of array (step,) to array (step,)
        Step time at a clock fraction, not increasing in it; `stretched` makes one. [s]
    cap_w : float
        [W]

    Raises
    ------
    InfeasibleError
        The chip draws that much without doing anything.
    """
    idle = idle_w(chip)
    if not cap_w > idle:
        raise InfeasibleError(
            f"power cap {cap_w:g} W: {chip.name} draws {idle:.0f} W when idle; set a higher cap"
        )
    lowest = np.full_like(energy.idle_j, energy_constants()["clock.lowest"])
    high = np.ones_like(lowest)
    fits = _power_w(energy, time_at, high) <= cap_w
    low = np.where(fits, high, lowest)
    for _ in range(BISECTIONS):
        middle = (low + high) / 2.0
        below = _power_w(energy, time_at, middle) <= cap_w
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return _finish(energy, time_at, low, cap_w, idle)


def stretched(time_s: Floats, compute_s: Floats) -> Callable[[Floats], Floats]:
    """Step time by clock fraction when only `compute_s` of `time_s` follows the clock. [s]."""

    def at(clock: Floats) -> Floats:
        whole: Floats = time_s + compute_s * (1.0 / clock - 1.0)
        return whole

    return at


def _at_clock(energy: StepEnergy, stretch: Floats, clock: Floats) -> StepEnergy:
    """Energy of the same work at a clock, the time being `stretch` times as long."""
    volt = voltage_factor(clock)
    return replace(
        energy,
        idle_j=energy.idle_j * stretch,
        awake_j=energy.awake_j * stretch * clock * volt,
        arithmetic_j=energy.arithmetic_j * volt,
        sram_j=energy.sram_j * volt,
    )


def _power_w(energy: StepEnergy, time_at: Callable[[Floats], Floats], clock: Floats) -> Floats:
    nominal, time = time_at(np.ones_like(clock)), time_at(clock)
    power: Floats = _at_clock(energy, time / nominal, clock).total_j / time
    return power


def _finish(
    energy: StepEnergy,
    time_at: Callable[[Floats], Floats],
    clock: Floats,
    cap_w: float,
    idle: float,
) -> CappedStep:
    """Energy at the clock found; above the cap at the lowest clock, waits that draw idle power."""
    nominal, time = time_at(np.ones_like(clock)), time_at(clock)
    found = _at_clock(energy, time / nominal, clock)
    # (total + idle x wait) / (time + wait) = cap
    wait = np.maximum(found.total_j - cap_w * time, 0.0) / (cap_w - idle)
    return CappedStep(
        clock_fraction=clock,
        time_s=time + wait,
        waiting_s=wait,
        energy=replace(found, idle_j=found.idle_j + idle * wait),
    )
