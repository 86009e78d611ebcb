"""From a catalogue record to what the timing model needs, blanks filled and named."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from tapeout.catalog import ChipRecord
from tapeout.chip.tables import Prior, has_vendor, measured_rows, prior, stated_topologies
from tapeout.chip.types import ChipSpec, Link
from tapeout.errors import MissingFieldError

CORES = ("sm_count", "compute_unit_count", "core_count")
CACHES = ("l2_cache", "l3_cache")
SHAPES = ("cores_per_root_flop", "l2_per_core", "cache_per_flop")
UNMEASURED_LOG_SD = 0.2  # timing error of a chip nobody measured, beyond the shared part
LINKS = (
    # name, condition of the rate, condition of the domain
    ("scale-up", "per-direction", ""),
    ("local", "per-direction local", "local"),
    ("global", "per-direction global", "global"),
)


@dataclass(slots=True)
class _Builder:
    """Reads a record and keeps account of what was read and what was assumed."""

    record: ChipRecord
    group: str
    vendor: str
    measured: bool
    paths: dict[str, None] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
    variance: float = 0.0

    def read(self, name: str, condition: str = "") -> float | None:
        """Value of a figure in SI units; None where nothing is known."""
        found = self.record.figure(name, condition)
        if found is None:
            return None
        self.paths[found.path] = None
        return found.chosen.value

    def assume(self, what: str, quantity: str, *, times: float, whole: bool = False) -> float:
        """Fill a blank from its prior; widen the error as far as timing follows it.

        Shape figures (SHAPES) do not widen the error of a chip with measured runs: whatever its
        cores and caches are, those runs went through them.
        """
        found: Prior = prior(quantity, self.group, self.vendor)
        value = found.value * times
        if whole:
            value = max(1.0, float(round(value)))
        if not (self.measured and quantity in SHAPES):
            self.variance += (found.elasticity * found.log_sd) ** 2
        basis = f"median of {found.chips} chips{found.of}" if found.chips else "no data"
        self.assumed.append(f"{what} = {value:.4g}: {quantity} = {found.value:g} ({basis})")
        return value


def spec_from_record(record: ChipRecord) -> ChipSpec:
    """Build the specification of a catalogue chip.

    Dense peaks only; link rates of one direction; memory in bytes. A blank is filled from the
    prior of its vendor, else its memory class, else all chips (data/priors.csv), listed in
    `assumptions`, and widens `own_log_sd` where timing depends on it. A stated figure is never
    replaced. On-chip memory stands in for a cache that nobody states. A chip without main memory
    works from its on-chip memory.

    Raises
    ------
    MissingFieldError
        The record has neither a bandwidth nor a peak rate.
    """
    fact = record.fact("mem_type")
    memory_kind = fact.text if fact else ""
    build = _Builder(
        record=record,
        group=memory_group(memory_kind),
        vendor=vendor_of(record.name),
        measured=is_measured(record.name),
    )
    peaks = _peaks(build)
    bandwidth = build.read("mem_bandwidth")
    sram_bytes = build.read("onchip_sram") or 0.0
    if bandwidth is None and (sram_rate := build.read("sram_bandwidth")):
        bandwidth, memory_kind = sram_rate, "SRAM"
    if bandwidth is None and not peaks:
        raise MissingFieldError(
            f"{record.name} has neither mem_bandwidth nor a peak rate for any number format; "
            "add one of mem_bandwidth, peak_bf16, peak_fp8, peak_fp4 in an overlay"
        )
    memory_bytes = sram_bytes if memory_kind == "SRAM" else _capacity(build)
    peaks, bandwidth, memory_bytes = _complete(build, peaks, bandwidth, memory_bytes)
    links = _links(build, bandwidth)
    tdp = build.read("tdp")
    if tdp is None:
        tdp = _rated_w(build, memory_kind, bandwidth)
    cores = _first(build, CORES) or _cores(build, peaks)
    cache = _first(build, CACHES) or sram_bytes or _cache(build, cores, peaks)
    return ChipSpec(
        name=record.name,
        peak_flop_per_s=peaks,
        memory_bytes=memory_bytes,
        memory_bytes_per_s=bandwidth,
        sram_bytes=sram_bytes,
        links=links,
        tdp_w=tdp,
        idle_w=build.read("power", "idle") or 0.0,
        own_log_sd=_own_log_sd(build),
        inputs=tuple(build.paths),
        assumptions=tuple(build.assumed),
        process_nm=build.read("process_node") or 0.0,
        memory_kind=memory_kind,
        cores=int(cores),
        l2_bytes=cache,
    )


def _first(build: _Builder, names: tuple[str, ...]) -> float:
    """First of these figures that the record has; 0 where it has none."""
    for name in names:
        found = build.record.figure(name)
        if found is not None:
            return build.read(name) or 0.0
    return 0.0


def _cores(build: _Builder, peaks: dict[str, float]) -> float:
    """Cores from the peak, as the vendor's counts grow with it; at least one."""
    root = math.sqrt(_widest(peaks))
    return build.assume("cores", "cores_per_root_flop", times=root, whole=True)


def _cache(build: _Builder, cores: float, peaks: dict[str, float]) -> float:
    """Shared cache: per core where the vendor's caches are known, else per arithmetic. [B]."""
    what = "shared cache [B]"
    if has_vendor("l2_per_core", build.vendor):
        return build.assume(what, "l2_per_core", times=cores)
    return build.assume(what, "cache_per_flop", times=_widest(peaks))


def _widest(peaks: dict[str, float]) -> float:
    """Rate of the format that attention runs in."""
    return peaks.get("bf16") or peaks.get("fp16") or min(peaks.values())


def _capacity(build: _Builder) -> float | None:
    """Capacity that software sees where stated (it is what an engine divides), else nominal."""
    return build.read("mem_capacity", "reported") or build.read("mem_capacity")


def _rated_w(build: _Builder, memory_kind: str, bandwidth: float) -> float:
    """Rated power from the system's, or from bandwidth; 0 (unknown) for an on-chip memory."""
    if memory_kind != "SRAM":
        return build.assume("tdp [W]", "tdp_per_root_byte", times=math.sqrt(bandwidth))
    system = build.read("power", "system")
    if system is None:
        build.assumed.append("tdp unknown: energy has no static part and no limit")
        return 0.0
    build.assumed.append(f"tdp = {system:g} W: power of the whole system")
    return system


def is_measured(name: str) -> bool:
    """True if end-to-end runs on the chip are in the measurements (data/measured.csv)."""
    return name in measured_rows()


def _own_log_sd(build: _Builder) -> float:
    """0 leaves the spread between measured chips to the timing model's own figure."""
    base = 0.0 if is_measured(build.record.name) else UNMEASURED_LOG_SD
    if base == 0.0 and build.variance == 0.0:
        return 0.0
    return math.sqrt(UNMEASURED_LOG_SD**2 + build.variance)


def vendor_of(name: str) -> str:
    """Vendor of a catalogue chip: the first word of its name."""
    return name.split(" ", 1)[0]


def memory_group(memory_kind: str) -> str:
    """Memory class of a chip: hbm, gddr or other."""
    kind = memory_kind.lower()
    if "hbm" in kind:
        return "hbm"
    return "gddr" if "gddr" in kind else "other"


def _peaks(build: _Builder) -> dict[str, float]:
    """Dense peaks, and the wider floating-point formats below the narrowest stated one."""
    peaks: dict[str, float] = {}
    for dtype, resolved in build.record.peaks().items():
        peaks[dtype] = resolved.chosen.value
        build.paths[resolved.path] = None
    for dtype in ("fp4", "fp8"):
        for condition in ("sparse", "unlabelled"):
            stated = None if dtype in peaks else build.read(f"peak_{dtype}", condition)
            if stated is not None:
                peaks[dtype] = build.assume(f"dense {dtype} peak", "sparse_share", times=stated)
    gemm = None if "bf16" in peaks else build.read("peak_bf16", "measured gemm")
    if gemm is not None:
        peaks["bf16"] = gemm
    _widen(build, peaks)
    return peaks


def _widen(build: _Builder, peaks: dict[str, float]) -> None:
    """Give a chip the wider formats that attention and norms run in."""
    if "fp8" not in peaks and "fp4" in peaks and "bf16" not in peaks:
        peaks["fp8"] = build.assume("fp8 peak", "fp8_per_fp4", times=peaks["fp4"])
    if "bf16" in peaks or "fp16" in peaks or "fp32" in peaks:
        return
    if "fp8" in peaks:
        peaks["bf16"] = build.assume("bf16 peak", "bf16_per_fp8", times=peaks["fp8"])
    elif "int8" in peaks:
        peaks["bf16"] = build.assume("bf16 peak", "bf16_per_int8", times=peaks["int8"])


def _complete(
    build: _Builder, peaks: dict[str, float], bandwidth: float | None, memory: float | None
) -> tuple[dict[str, float], float, float]:
    """Fill peak, bandwidth and capacity from one another."""
    if bandwidth is None and memory:
        bandwidth = build.assume("mem_bandwidth [B/s]", "bandwidth_per_byte", times=memory)
    if bandwidth is None:
        widest = peaks.get("bf16") or min(peaks.values())
        ratio = prior("bf16_per_byte", build.group, build.vendor).value
        build.assume("FLOP per byte behind mem_bandwidth", "bf16_per_byte", times=1.0)
        bandwidth = widest / ratio
    if not peaks:
        peaks = {"bf16": build.assume("bf16 peak", "bf16_per_byte", times=bandwidth)}
    if not memory:
        ratio = prior("bandwidth_per_byte", build.group, build.vendor).value
        build.assume("bandwidth over capacity behind mem_capacity", "bandwidth_per_byte", times=1.0)
        memory = bandwidth / ratio
    return peaks, bandwidth, memory


def _links(build: _Builder, bandwidth: float) -> tuple[Link, ...]:
    """Links of one direction, smallest domain first; none for a chip that states none."""
    topology = _topology(build.record)
    found: list[Link] = []
    stated = build.record.conditions("scaleup_bw")
    for name, rate_condition, domain_condition in LINKS:
        # Asking for "per-direction" also finds the local link, so look at what is stated.
        rate = build.read("scaleup_bw", rate_condition) if rate_condition in stated else None
        if rate is not None:
            chips = _domain(build, domain_condition)
            found.append(Link(name=name, bytes_per_s=rate, chips=chips, topology=topology))
    if not found and (rate := _undirected(build, bandwidth)):
        chips = _domain(build, "")
        found.append(Link(name="scale-up", bytes_per_s=rate, chips=chips, topology=topology))
    return tuple(sorted(found, key=lambda link: link.chips))


def _undirected(build: _Builder, bandwidth: float) -> float | None:
    """Rate of one direction where none is stated; None for a chip without a scale-up network."""
    both = build.read("scaleup_bw", "unstated direction") or build.read(
        "scaleup_bw", "bidirectional"
    )
    what = "link rate, one direction [B/s]"
    if both:
        return build.assume(what, "one_direction", times=both)
    if build.read("scaleup_domain") is not None:
        return build.assume(what, "link_per_byte", times=bandwidth)
    return None


def _domain(build: _Builder, condition: str) -> int:
    chips = build.read("scaleup_domain", condition)
    if chips is None:
        chips = build.assume("chips in the scale-up domain", "link_chips", times=1.0)
    return int(chips)


def _topology(record: ChipRecord) -> str:
    if record.name in stated_topologies():
        return stated_topologies()[record.name]
    fact = record.fact("scaleup_topology")
    text = fact.text.lower() if fact else ""
    for dimension in ("3d", "2d"):
        if f"{dimension} torus" in text:
            return f"torus{dimension}"
    return "switch"
