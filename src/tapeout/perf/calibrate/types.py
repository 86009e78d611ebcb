"""What is timed and on what: the device, a timing, and the protocol of a backend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tapeout.perf.ops.cases import OpCase


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """The accelerator at hand, as its driver describes it; 0 and empty where it does not say.

    Attributes
    ----------
    name : str
        Of the driver, e.g. "NVIDIA H100 80GB HBM3".
    kind : str
        "cpu", "cuda" or "rocm".
    host, driver, stack : str
        Host name; driver version; library and version, e.g. "torch-2.13.0".
    kernel : str
        What multiplies, e.g. "scipy-openblas" or "cublas".
    memory_bytes, cache_bytes, clock_hz : float
        Main memory; last cache before it (bounds what counts as cold); clock when asked.
    units : int
        Streaming multiprocessors, compute units or CPU cores.
    devices : int
        Devices of the kind in this host.
    """

    name: str
    kind: str
    host: str
    driver: str
    stack: str
    kernel: str
    memory_bytes: float
    cache_bytes: float
    clock_hz: float
    units: int
    devices: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of one call: median, interquartile range over the median, and how many samples."""

    median_s: float
    spread_fraction: float
    samples: int


class Backend(Protocol):
    """Times one operator at a time on one device."""

    @property
    def device(self) -> Device:
        """What is timed."""
        ...

    @property
    def mode(self) -> str:
        """Launch mode of its timings: "graph" or "eager"."""
        ...

    def dtypes(self) -> tuple[str, ...]:
        """Formats in which the device multiplies matrices."""
        ...

    def time(self, case: OpCase, budget_s: float) -> Timing:
        """Time one operator, weights cold where memory allows; at least `LEAST` samples.

        Raises
        ------
        InfeasibleError
            The device or the library cannot run it, or memory does not hold it.
        """
        ...
