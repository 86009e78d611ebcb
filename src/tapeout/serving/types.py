"""Service-level objectives, deployments, and the capacity table that money is computed from."""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.numerics import Floats, Ints
from tapeout.perf.types import Placement
from tapeout.serving.engine.host_cache import HostCache
from tapeout.serving.engine.job import Front
from tapeout.serving.engine.policies import Policy, VllmV1


@dataclass(frozen=True, slots=True, kw_only=True)
class Slo:
    """Latency limits of one class of traffic at a percentile of requests."""

    ttft_s: float
    tpot_s: float
    percentile: float = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A placement run by an engine; None: what the engine does by default on the chip.

    `max_sequences` and `token_budget` are of one data-parallel rank. `kv_blocks` is the usable
    number of cache blocks of a rank: vLLM's printed count less one. `max_model_len` is the longest
    sequence, input and output, by default the model's; `memory_fraction` the share of memory that
    the engine takes (gpu_memory_utilization), by default 0.9 as in vLLM 0.19. `host_cache` is a
    tier of the cache in host memory; None: there is none.
    """

    placement: Placement
    policy: Policy = VllmV1()  # noqa: RUF009 - frozen
    max_sequences: int | None = None
    token_budget: int | None = None
    kv_blocks: int | None = None
    block_tokens: int = 16
    replicas: int = 1
    max_model_len: int | None = None
    memory_fraction: float | None = None
    front: Front = Front()  # noqa: RUF009 - frozen
    host_cache: HostCache | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityTable:
    """Capacity at SLO; arrays are (silicon, workload, stack_year).

    Rates are per chip, means over a replica that is full but meets the SLO.
    `chips_per_replica` is the smallest unit that can be bought for the workload.
    `common_log_sd` (timing error shared by all silicon) cancels in ratios, `own_log_sd` does not.
    """

    silicon: tuple[str, ...]
    workload: tuple[str, ...]
    stack_year: tuple[int, ...]
    output_tokens_per_s_per_chip: Floats
    input_tokens_per_s_per_chip: Floats
    joule_per_output_token: Floats
    chips_per_replica: Ints
    ttft_s: Floats
    tpot_s: Floats
    batch_sequences: Floats
    common_log_sd: Floats
    own_log_sd: Floats
    outcome: Ints
    method: str  # steady | simulated
    placement: tuple[tuple[str, ...], ...]  # [silicon][workload], in words, e.g. "tp8 fp4"
