"""What this machine says of itself: names, clock, caches. Blank or zero where it does not."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

from tapeout.constants import GIB, KIB, MEGA, MIB

CACHE = Path("/sys/devices/system/cpu/cpu0/cache")
CPU_INFO = Path("/proc/cpuinfo")
DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/sys/module/amdgpu/version"))
USUAL_CACHE_BYTES = 32.0 * MIB  # assumption where the system does not say
_SIZE = re.compile(r"(\d+)([KMG]?)")
_FACTOR = {"": 1, "K": KIB, "M": MIB, "G": GIB}
_VERSION = re.compile(r"\b\d+(?:\.\d+)+\b")


def text_of(path: Path) -> str:
    """Content of a small file of the system; empty when there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def processor_name(info: str) -> str:
    """Model name in the text of cpuinfo, else the architecture."""
    for line in info.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def processor_clock_hz(info: str) -> float:
    """Fastest clock in the text of cpuinfo when asked; 0 where it does not say. [Hz]."""
    clocks = [
        float(line.partition(":")[2])
        for line in info.splitlines()
        if line.startswith("cpu MHz") and line.partition(":")[2].strip()
    ]
    return max(clocks, default=0.0) * MEGA


def size_bytes(text: str) -> float:
    """Size as the system writes it.

    Examples
    --------
    >>> size_bytes("32768K")
    33554432.0
    """
    match = _SIZE.match(text.strip())
    return float(match.group(1)) * _FACTOR[match.group(2)] if match else 0.0


def cache_bytes(folder: Path = CACHE) -> float:
    """Largest cache of a core, the assumed one where the system does not say. [B]."""
    sizes = [size_bytes(text_of(path)) for path in folder.glob("index*/size")]
    return max(sizes, default=0.0) or USUAL_CACHE_BYTES


def memory_bytes() -> float:
    """Main memory of the host; 0 where it does not say. [B]."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return 0.0


def usable_cores() -> int:
    """Cores this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def load_per_core() -> float:
    """Processes that want to run over cores, mean of the last minute; 0 where nobody says."""
    try:
        return os.getloadavg()[0] / usable_cores()
    except (AttributeError, OSError):  # not on every system
        return 0.0


def driver() -> str:
    """Version of the first accelerator driver that is loaded; the kernel's without one."""
    for path in DRIVERS:
        found = _VERSION.search(text_of(path))
        if found:
            return found.group(0)
    return platform.release()


def host_name() -> str:
    """Name of the host."""
    return platform.node()
