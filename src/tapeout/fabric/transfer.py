"""Moving data between two groups of chips over the scale-out network."""

from __future__ import annotations

from tapeout.fabric.types import System


def transfer_s(sender: System, sent_bytes: float, receiver: System, received_bytes: float) -> float:
    """Time in which every chip of a group sends its part while those of another take theirs.

    Parameters
    ----------
    sender, receiver : System
    sent_bytes, received_bytes : float
        Of one chip. [B]

    Returns
    -------
    float
        The slower side counts; latency is not included. [s]

    Examples
    --------
    >>> from types import SimpleNamespace as System
    >>> transfer_s(System(nic_bytes_per_s=50e9), 1e9, System(nic_bytes_per_s=25e9), 1e9)
    0.04
    """
    return max(sent_bytes / sender.nic_bytes_per_s, received_bytes / receiver.nic_bytes_per_s)
