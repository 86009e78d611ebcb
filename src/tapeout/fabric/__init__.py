"""How chips are joined: links, topologies and the time of collective operations."""

from tapeout.fabric.collectives import collective_s, link_topology, system_topology
from tapeout.fabric.experts import ExpertExchange, distinct_ranks, exchange_s
from tapeout.fabric.lane import Lane, LinkQuality
from tapeout.fabric.leaf_spine import LeafSpine
from tapeout.fabric.mesh import FullMesh
from tapeout.fabric.overlap import exposed_s
from tapeout.fabric.pcie import PcieRoot
from tapeout.fabric.routes import Library, Route, RouteLaw, Volume, sent_bytes
from tapeout.fabric.switch import Switch
from tapeout.fabric.systems import usual_system
from tapeout.fabric.topology import Collective, Topology
from tapeout.fabric.torus import Torus, sides
from tapeout.fabric.transfer import transfer_s
from tapeout.fabric.two_level import TwoLevel
from tapeout.fabric.types import System

__all__ = [
    "Collective",
    "ExpertExchange",
    "FullMesh",
    "Lane",
    "LeafSpine",
    "Library",
    "LinkQuality",
    "PcieRoot",
    "Route",
    "RouteLaw",
    "Switch",
    "System",
    "Topology",
    "Torus",
    "TwoLevel",
    "Volume",
    "collective_s",
    "distinct_ranks",
    "exchange_s",
    "exposed_s",
    "link_topology",
    "sent_bytes",
    "sides",
    "system_topology",
    "transfer_s",
    "usual_system",
]
