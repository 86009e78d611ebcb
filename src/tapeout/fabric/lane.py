"""How fast one chip puts a message on its links."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.numerics import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkQuality:
    """What a library makes of nominal links; the defaults are ideal.

    Attributes
    ----------
    latency_s : float
        One phase of a collective. [s]
    efficiency : float
        Sustained over nominal rate for very large messages.
    half_bytes, exponent : float
        As in `Lane`.
    """

    latency_s: float = 0.0
    efficiency: float = 1.0
    half_bytes: float = 0.0
    exponent: float = 0.4

    def lane(self, bytes_per_s: float, *, latency_factor: float = 1.0) -> Lane:
        """Lane of a link with this nominal rate."""
        return Lane(
            bytes_per_s=self.efficiency * bytes_per_s,
            latency_s=latency_factor * self.latency_s,
            half_bytes=self.half_bytes,
            exponent=self.exponent,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Injection rate and latency of one chip, one direction.

    Attributes
    ----------
    bytes_per_s : float
        All links of the chip together, after protocol losses. [B/s]
    latency_s : float
        Time of one hop or of one synchronised phase of a collective. [s]
    half_bytes : float
        Message size at which half of the rate is reached (exponent 1); 0 turns the ramp off. [B]
    exponent : float
        Steepness of the ramp; 0.3-0.45 fits NCCL on three generations of NVLink.
    """

    bytes_per_s: float
    latency_s: float
    half_bytes: float = 0.0
    exponent: float = 0.4

    def transfer_s(self, sent_bytes: Floats, message_bytes: Floats) -> Floats:
        """Time to send `sent_bytes` as part of a collective over `message_bytes`, no latency.

        The rate is `B / (1 + (S_half / S)^g)`; an empty message takes no time.
        """
        sent = np.asarray(sent_bytes, dtype=float)
        if self.half_bytes == 0.0:
            return sent / self.bytes_per_s
        size = np.asarray(message_bytes, dtype=float)
        safe = np.where(size > 0.0, size, 1.0)
        ramp = 1.0 + (self.half_bytes / safe) ** self.exponent
        return np.where(size > 0.0, sent / self.bytes_per_s * ramp, 0.0)
