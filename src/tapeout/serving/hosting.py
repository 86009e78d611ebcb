"""What a tier in host memory did in a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tapeout.serving.engine.host_cache import HostTierSize
from tapeout.serving.engine.types import RunTotals


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUse:
    """A tier in host memory over a whole run, all ranks and replicas together.

    Attributes
    ----------
    blocks : int
        Of one rank.
    loads : int
        Copies to the device, each of the blocks of one request.
    hit_tokens : int
        Found in host memory; part of all tokens found.
    hit_fraction : float
        Of all tokens found, recomputed ones after preemptions included; 0 where none were.
    loaded_bytes, stored_bytes : float
        To the device, and to the host. [B]
    load_mean_s : float
        From asking for a copy to its end, its turn in the queue included; 0 without copies. [s]
    stalled_s : float
        Steps waited for copies out of blocks that they overwrite. [s]
    """

    blocks: int
    loads: int
    hit_tokens: int
    hit_fraction: float
    loaded_bytes: float
    stored_bytes: float
    load_mean_s: float
    stalled_s: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def host_use(totals: RunTotals, size: HostTierSize, block_tokens: int) -> HostUse:
    """Count what the tier did."""
    tokens = totals.loaded_blocks * block_tokens
    return HostUse(
        blocks=size.blocks,
        loads=totals.loads,
        hit_tokens=tokens,
        hit_fraction=tokens / totals.hit_tokens if totals.hit_tokens else 0.0,
        loaded_bytes=totals.loaded_blocks * size.block_bytes,
        stored_bytes=totals.stored_blocks * size.block_bytes,
        load_mean_s=totals.load_s / totals.loads if totals.loads else 0.0,
        stalled_s=totals.stalled_s,
    )
