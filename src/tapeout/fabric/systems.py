"""The usual system around a chip."""

from __future__ import annotations

from tapeout.chip.types import ChipSpec
from tapeout.constants import GIGA
from tapeout.fabric.types import System

NIC_BYTES_PER_S = 50.0 * GIGA  # one 400 Gb/s port a chip, as in HGX and NVL72 systems
PCIE_BYTES_PER_S = 32.0 * GIGA  # assumption: PCIe 4.0 x16 between chips without a scale-up network
# Of rated power. MLPerf v5.1 wall power of saturated B200 servers, per 1,000 W chip: 1,304 W in an
# air-cooled one (SR680a), 1,126-1,180 W in a liquid-cooled one (SR780a). The air-cooled share is
# kept; it held best on the rows left out (benchmarks/energy_trials.csv).
HOST_FRACTION = 0.3
MOST_CHIPS = 128  # larger replicas are not considered


def usual_system(chip: ChipSpec, *, host_w: float | None = None) -> System:
    """Domains of the chip's first link behind one port a chip, enough of them for 128 chips.

    Parameters
    ----------
    chip : ChipSpec
    host_w : float, optional
        Host, NIC and fan power shared by one chip; without one, 0.3 of rated power. [W]
    """
    size = chip.links[0].chips if chip.links else 1
    inside = min(size, MOST_CHIPS)
    return System(
        chip=chip,
        chips_per_domain=inside,
        domains=max(1, MOST_CHIPS // inside),
        topology=chip.links[0].topology if chip.links else "switch",
        nic_bytes_per_s=NIC_BYTES_PER_S if chip.links else PCIE_BYTES_PER_S,
        host_w=HOST_FRACTION * chip.tdp_w if host_w is None else host_w,
    )
