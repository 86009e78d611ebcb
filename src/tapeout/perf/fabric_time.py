"""Time of the collectives of a step on the system of a placement."""

from __future__ import annotations

import numpy as np

from tapeout.fabric import System, collective_s, system_topology
from tapeout.numerics import Floats
from tapeout.perf.constants import StackConstants
from tapeout.perf.sharding import Message


def fabric_s(
    messages: tuple[Message, ...], system: System, constants: StackConstants, steps: int
) -> Floats:
    """Sum over the collectives of a step, shape (step,). Nothing overlaps with compute. [s].

    Overlap is a property of an engine; the fitted latency and link efficiency already contain
    what the measured engines hide.
    """
    total = np.zeros(steps)
    for message in messages:
        topology = system_topology(system, message.ranks, constants.link_quality)
        once = collective_s(message.operation, message.message_bytes, message.ranks, topology)
        total = total + message.calls * once
    return total
