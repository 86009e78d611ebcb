"""How chips are joined."""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.chip.types import ChipSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """Chips of one kind in scale-up domains behind a scale-out network.

    Attributes
    ----------
    nic_bytes_per_s : float
        Scale-out rate per chip and direction.
    host_w : float
        Host, NIC and fan power shared by one chip. [W]
    """

    chip: ChipSpec
    chips_per_domain: int
    domains: int = 1
    topology: str = "switch"
    nic_bytes_per_s: float = 50e9
    host_w: float = 0.0
