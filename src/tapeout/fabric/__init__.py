"""How chips are joined: links, topologies and the time of collective operations."""

from tapeout.fabric.collectives import collective_s, link_topology, system_topology
from tapeout.fabric.lane import Lane, LinkQuality
from tapeout.fabric.switch import Switch
from tapeout.fabric.systems import usual_system
from tapeout.fabric.topology import Collective, Topology
from tapeout.fabric.torus import Torus, sides
from tapeout.fabric.two_level import TwoLevel
from tapeout.fabric.types import System

__all__ = [
    "Collective",
    "Lane",
    "LinkQuality",
    "Switch",
    "System",
    "Topology",
    "Torus",
    "TwoLevel",
    "collective_s",
    "link_topology",
    "sides",
    "system_topology",
    "usual_system",
]
