"""A placement of a model on chips, the cost of its steps, and the protocol of a timing model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tapeout.constants import GIGA
from tapeout.fabric.types import System
from tapeout.numerics import Floats, Ints
from tapeout.workload.architecture import ModelArchitecture
from tapeout.workload.types import StepMix, TensorFormats


@dataclass(frozen=True, slots=True, kw_only=True)
class Degrees:
    """Degrees of parallelism of one replica; see `Placement`."""

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    data: int = 1

    @property
    def ranks(self) -> int:
        """Chips of one pipeline stage."""
        return self.tensor * self.data


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySettings:
    """How an engine divides the memory of a chip.

    Attributes
    ----------
    usable_fraction : float
        Of the memory; the default is that of vLLM 0.19 and later (gpu_memory_utilization).
    buffer_bytes : float
        Graphs and communicators take 1-6 GB (reference 1.7). [B]
    token_budget : int
        Tokens of the largest step, which activations are sized for; the default is that of the
        vLLM API server on chips of 70 GiB and more.
    """

    usable_fraction: float = 0.92
    buffer_bytes: float = 3.0 * GIGA
    token_budget: int = 8192


TIGHT_MEMORY = MemorySettings(usable_fraction=0.97, buffer_bytes=GIGA, token_budget=2048)
"""What operators set where the weights leave little room: few or no captured graphs, small steps.

Measured runs prove it: DeepSeek-R1 in fp8 on four GB200, DeepSeek-V4-Pro on eight H200 with
attention replicas, Llama-3-70B in bf16 on four A100 of 40 GB do not fit with the defaults."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One replica: which model, on which chips, cut how, in which formats, by which software."""

    architecture: ModelArchitecture
    system: System
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    expert_parallel: int = 1  # shares the tensor-parallel ranks
    data_parallel: int = 1  # attention replicas sharing one set of experts
    formats: TensorFormats
    stack: str = "generic"
    memory: MemorySettings = MemorySettings()

    @property
    def degrees(self) -> Degrees:
        """The four degrees together."""
        return Degrees(
            tensor=self.tensor_parallel,
            pipeline=self.pipeline_parallel,
            expert=self.expert_parallel,
            data=self.data_parallel,
        )

    @property
    def chips(self) -> int:
        """Chips of one replica."""
        return self.tensor_parallel * self.pipeline_parallel * self.data_parallel


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """Time and energy of engine steps; arrays are (step,) unless said.

    `by_kind_s` maps an operator kind ("gemm", "attention", "fabric", "overhead" ...) to its share
    of time; the shares add up to time_s. `bound` names the largest limit per step: "compute",
    "memory", "fabric" or "overhead". energy_j is for all chips of the replica, hosts excluded.
    `log_sd` is the whole timing error, `common_log_sd` its part shared by all chips.
    `energy_by_part_j` splits energy_j ("idle", "awake", "arithmetic", "sram", "memory", "fabric");
    `clock_fraction` is the clock over the one without a power cap. `by_operator_s` maps every
    operator of the table to its share; fabric and overhead are not among them.
    """

    time_s: Floats
    energy_j: Floats
    by_kind_s: Mapping[str, Floats]
    bound: tuple[str, ...]
    outcome: Ints
    log_sd: float
    common_log_sd: float = 0.0
    energy_by_part_j: Mapping[str, Floats] = field(default_factory=dict)
    clock_fraction: Floats | None = None
    by_operator_s: Mapping[str, Floats] = field(default_factory=dict)


class TimingModel(Protocol):
    """Seconds and joules of engine steps. Each model states its error as `StepCost.log_sd`."""

    @property
    def name(self) -> str:
        """Short name and version, kept with every result."""
        ...

    def step_cost(self, placement: Placement, mix: StepMix) -> StepCost:
        """Time the steps of `mix` on `placement`."""
        ...
