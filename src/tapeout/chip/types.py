"""What the timing model needs to know of one package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tapeout.numerics import Floats


class EfficiencyModel(Protocol):
    """Share of peak that a chip sustains; `refchip` and `design` bring their own."""

    def compute_fraction(self, kind: str, m: Floats, n: Floats, k: Floats) -> Floats:
        """Sustained over peak arithmetic rate of an operator, same shape as m."""
        ...

    def memory_fraction(self, moved_bytes: Floats) -> Floats:
        """Sustained over peak memory bandwidth, same shape as moved_bytes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One scale-up network of a chip.

    bytes_per_s is the rate of one chip in one direction; `chips` is the size of the domain.
    """

    name: str
    bytes_per_s: float
    chips: int
    topology: str = "switch"  # switch | ring | torus2d | torus3d


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipSpec:
    """One package, in SI units.

    Attributes
    ----------
    peak_flop_per_s : mapping of dtype to rate
        Dense peaks. A dtype that is absent runs at the next wider one that is there.
    links : tuple of Link
        Fastest (smallest domain) first; empty for a chip without a scale-up network.
    efficiency : EfficiencyModel or None
        None: the timing model's own constants.
    common_log_sd, own_log_sd : float
        Timing error shared by all chips, and that of this chip alone (log units).
    inputs : tuple of str
        Catalogue paths the spec was built from.
    assumptions : tuple of str
        What was filled in because the record is blank, in words.
    process_nm : float
        Process class, for energy; 0 when unknown. [nm]
    memory_kind : str
        For energy, e.g. "HBM3e"; empty when unknown.
    cores : int
        Independent cores that tiles are dealt to (SMs, compute units); 0 when unknown.
    l2_bytes : float
        Last cache before main memory, shared by the cores; 0 when unknown. [B]
    """

    name: str
    peak_flop_per_s: Mapping[str, float]
    memory_bytes: float
    memory_bytes_per_s: float
    sram_bytes: float = 0.0
    links: tuple[Link, ...] = ()
    tdp_w: float = 0.0
    idle_w: float = 0.0
    efficiency: EfficiencyModel | None = None
    common_log_sd: float = 0.0
    own_log_sd: float = 0.0
    inputs: tuple[str, ...] = field(default=())
    assumptions: tuple[str, ...] = field(default=())
    process_nm: float = 0.0
    memory_kind: str = ""
    cores: int = 0
    l2_bytes: float = 0.0
