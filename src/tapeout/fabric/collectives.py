"""Time of a collective on a topology, and the topology of a system."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tapeout.chip.types import Link
from tapeout.errors import InfeasibleError, UnknownNameError
from tapeout.fabric.lane import Lane, LinkQuality
from tapeout.fabric.mesh import FullMesh
from tapeout.fabric.pcie import PcieRoot
from tapeout.fabric.switch import Switch
from tapeout.fabric.topology import Collective, Topology
from tapeout.fabric.torus import Torus
from tapeout.fabric.two_level import TwoLevel
from tapeout.fabric.types import System
from tapeout.numerics import Floats

ROOT_LANES = 4.0  # assumption: a root complex forwards as much as four cards send
NIC_LATENCY_FACTOR = 3.0  # assumption: a scale-out phase costs about three scale-up phases


def collective_s(operation: str, message_bytes: Floats, ranks: int, topology: Topology) -> Floats:
    """Time of a collective operation [s], same shape as `message_bytes`.

    Parameters
    ----------
    operation : str
        A member of `Collective`, which says what `message_bytes` is for each.
    message_bytes : array
        [B]
    ranks : int
        Chips that take part; with one the time is zero.
    topology : Topology

    Raises
    ------
    UnknownNameError
        The operation is not in `Collective`.
    InfeasibleError
        Fewer than one rank.
    """
    if ranks < 1:
        raise InfeasibleError(f"a collective over {ranks} ranks; at least one must take part")
    methods: dict[str, Callable[[Floats, int], Floats]] = {
        Collective.ALL_REDUCE.value: topology.all_reduce_s,
        Collective.ALL_GATHER.value: topology.all_gather_s,
        Collective.REDUCE_SCATTER.value: topology.reduce_scatter_s,
        Collective.ALL_TO_ALL.value: topology.all_to_all_s,
        Collective.SEND.value: topology.send_s,
    }
    if operation not in methods:
        raise UnknownNameError("collective", operation, methods)
    return methods[operation](message_bytes, ranks)


def link_topology(name: str, lane: Lane, chips: int = 8) -> Topology:
    """Topology of a link by the name it has in `Link.topology`.

    Parameters
    ----------
    name : str
        switch (NVLink behind NVSwitch), ring (NeuronLink of Inferentia), torus2d, torus3d (ICI,
        NeuronLink of Trainium), mesh (Infinity Fabric), pcie (peers below a shared root) or
        pcie-host (through host memory).
    lane : Lane
    chips : int
        Chips of the domain; only a mesh asks, whose links are divided among them.

    Raises
    ------
    UnknownNameError
        The name is none of these.
    """
    known: dict[str, Topology] = {
        "switch": Switch(lane=lane),
        "ring": Torus(lane=lane, dimensions=1),
        "torus2d": Torus(lane=lane, dimensions=2),
        "torus3d": Torus(lane=lane, dimensions=3),
        "mesh": FullMesh(lane=lane, chips=max(chips, 2)),
        "pcie": PcieRoot(lane=lane, root_bytes_per_s=ROOT_LANES * lane.bytes_per_s),
        "pcie-host": PcieRoot(
            lane=lane, root_bytes_per_s=ROOT_LANES * lane.bytes_per_s, through_host=True
        ),
    }
    if name not in known:
        raise UnknownNameError("topology", name, known)
    return known[name]


def system_topology(system: System, ranks: int, quality: LinkQuality) -> Topology:
    """Topology that `ranks` chips of a system see.

    The first (fastest) link whose domain holds the ranks is used; beyond the last one the
    scale-out network joins domains of the last link. A chip without a link has only the network,
    a phase of which takes three of those of a link.

    Parameters
    ----------
    system : System
    ranks : int
    quality : LinkQuality
        Latency and efficiency of links and network.
    """
    network = Switch(lane=quality.lane(system.nic_bytes_per_s, latency_factor=NIC_LATENCY_FACTOR))
    links = usable_links(system)
    for link in links:
        if ranks <= link.chips:
            return link_topology(link.topology, quality.lane(link.bytes_per_s), link.chips)
    if not links:
        return network
    last = links[-1]
    inner = link_topology(last.topology, quality.lane(last.bytes_per_s), last.chips)
    return TwoLevel(inner=inner, outer=network, chips_per_domain=last.chips)


def usable_links(system: System) -> tuple[Link, ...]:
    """Links of the chip, cut to what the system has: the first to a domain, the rest to all chips.

    Links without a rate are left out.
    """
    most = (system.chips_per_domain, system.chips_per_domain * system.domains)
    return tuple(
        replace(link, chips=min(link.chips, most[0 if place == 0 else 1]))
        for place, link in enumerate(system.chip.links)
        if link.bytes_per_s > 0.0
    )
