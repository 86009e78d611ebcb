"""Names, ranges and plain values of the constants of the attention laws."""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.constants import GIGA, MICRO, NANO, TERA


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """One constant of a law.

    Attributes
    ----------
    start, low, high : float
        Value a fit starts from, and the range it keeps to.
    meaning : str
        What it is, with the unit.
    fixed : bool
        True where a fit leaves it at `start`: a choice among a few values, made by folds.
    """

    start: float
    low: float
    high: float
    meaning: str
    fixed: bool = False

    @property
    def is_share(self) -> bool:
        """True for a constant that may be zero and so is fitted as it is, not as a logarithm."""
        return self.low <= 0.0


EXP_PER_CORE_S = Constant(
    start=28.0 * GIGA,
    low=1.0 * GIGA,
    high=1.0 * TERA,
    meaning="exponentials of a core, with the arithmetic around them [1/s]",
)
WINDOW_SKIP = Constant(
    start=1.0, low=0.0, high=1.0, meaning="share of the keys hidden by a window that is skipped"
)
WIDE_POWER = Constant(
    start=0.1, low=0.0, high=2.0, meaning="loss of heads wider than 128, as a power of width"
)

PREFILL = {
    "launch_s": Constant(
        start=10.0 * MICRO, low=1.0 * MICRO, high=300.0 * MICRO, meaning="floor of a call [s]"
    ),
    "compute_efficiency": Constant(
        start=0.7, low=0.05, high=1.5, meaning="sustained over peak rate of the matrix unit"
    ),
    "exp_per_core_s": EXP_PER_CORE_S,
    "memory_efficiency": Constant(
        start=0.75, low=0.1, high=1.0, meaning="sustained over nominal memory bandwidth"
    ),
    "fill_keys": Constant(
        start=100.0, low=1.0, high=3000.0, meaning="start and end of a tile, as keys [keys]"
    ),
    "wave_share": Constant(
        start=0.3, low=0.0, high=1.0, meaning="share of tiles dealt in whole waves"
    ),
    "write_passes": Constant(
        start=1.0, low=0.0, high=10.0, meaning="passes over new keys and values, read and written"
    ),
    "query_passes": Constant(
        start=0.0, low=0.0, high=10.0, meaning="passes over the queries before the walk"
    ),
    "tile_s": Constant(
        start=0.3 * MICRO,
        low=1.0 * NANO,
        high=30.0 * MICRO,
        meaning="time per wave of tiles [s]",
    ),
    "window_skip": WINDOW_SKIP,
    "wide_power": WIDE_POWER,
    "tile_rows": Constant(
        start=128.0, low=16.0, high=256.0, meaning="query rows of a tile", fixed=True
    ),
}

DECODE = {
    "launch_s": Constant(
        start=11.0 * MICRO, low=1.0 * MICRO, high=300.0 * MICRO, meaning="floor of a call [s]"
    ),
    "compute_efficiency": Constant(
        start=0.3, low=0.01, high=2.0, meaning="sustained over peak rate of the matrix unit"
    ),
    "exp_per_core_s": EXP_PER_CORE_S,
    "memory_efficiency": Constant(
        start=0.8, low=0.1, high=1.2, meaning="sustained over nominal memory bandwidth"
    ),
    "core_share": Constant(
        start=0.5, low=0.05, high=4.0, meaning="cores needed to draw the full bandwidth, over all"
    ),
    "chunk_keys": Constant(
        start=512.0, low=32.0, high=8192.0, meaning="least keys of a chunk when split [keys]"
    ),
    "l2_ratio": Constant(
        start=2.0, low=1.0, high=20.0, meaning="rate of the last-level cache over memory"
    ),
    "l2_share": Constant(
        start=0.6, low=0.1, high=4.0, meaning="share of the last-level cache a working set may fill"
    ),
    "merge_s": Constant(
        start=2.0 * MICRO, low=0.01 * MICRO, high=50.0 * MICRO, meaning="second pass when split [s]"
    ),
    "key_s": Constant(
        start=1.0 * NANO,
        low=1e-5 * MICRO,
        high=0.3 * MICRO,
        meaning="step of a unit per key [s]",
    ),
    "pack_s": Constant(
        start=0.1 * MICRO, low=1.0 * NANO, high=50.0 * MICRO, meaning="packing of heads [s]"
    ),
    "copy_s": Constant(
        start=0.1 * MICRO, low=1.0 * NANO, high=50.0 * MICRO, meaning="transpose when packed [s]"
    ),
    "split_alone": Constant(
        start=0.5, low=0.0, high=1.0, meaning="1 if a key head with one query head is split too"
    ),
    "unit_s": Constant(
        start=1.0 * MICRO,
        low=1.0 * NANO,
        high=30.0 * MICRO,
        meaning="time per wave of units beyond the first [s]",
    ),
    "window_skip": WINDOW_SKIP,
    "wide_power": WIDE_POWER,
    "fixed_splits": Constant(
        start=1.0,
        low=1.0,
        high=256.0,
        meaning="chunks of every cache in captured batches, even empty; 1 for as many as help",
        fixed=True,
    ),
    "tile_rows": Constant(
        start=128.0, low=16.0, high=256.0, meaning="query rows of a tile", fixed=True
    ),
}


MIXED = {
    **{name: PREFILL[name] for name in PREFILL if not name.endswith("_passes")},
    "tile_rows": Constant(
        start=64.0, low=16.0, high=256.0, meaning="query rows of a tile", fixed=True
    ),
    "single_cost": Constant(
        start=0.7, low=0.05, high=2.0, meaning="cost of a tile with one query, over a full one"
    ),
    "reread_share": Constant(
        start=0.3, low=0.0, high=1.0, meaning="share of shared keys that each head reads again"
    ),
}


def starting(law: dict[str, Constant]) -> dict[str, float]:
    """Plain values of a law: what a fit starts from."""
    return {name: constant.start for name, constant in law.items()}
