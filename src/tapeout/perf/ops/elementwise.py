"""Estimate of a norm, activation, rotary, softmax, embedding, sampling or copy."""

from __future__ import annotations

import math
from functools import cache

from tapeout.chip.types import ChipSpec
from tapeout.errors import InfeasibleError
from tapeout.perf.ops.cases import Estimate, OpCase
from tapeout.perf.ops.elementwise_law import ElementwiseConstants, Memory, key_of, work_of
from tapeout.perf.ops.store import Distance, Match, Setup, Wanted, load_setups, nearest

TABLE = "elementwise"
CORES = 128  # assumption for a chip that states none; near those of five measured chips
CACHE_BYTES_PER_RATE = (
    2e-5  # s; B of last cache for a B/s of memory, as A100 (2.1e-5), H100 (1.5e-5)
)
PLAIN_COPY = "copy+add"  # the copy that was measured; the passes differ, not the constants


def estimate(case: OpCase, chip: ChipSpec, *, without: str = "") -> Estimate:
    """Time of an elementwise operator.

    Parameters
    ----------
    case : OpCase
        `m` rows of `n` elements on this chip; for rope `n` may be given as (heads + kv_heads)
        head_dim, and `m` as batch times q_len. Blank dtype: bf16; blank mode: graph.
    chip : ChipSpec
    without : str
        Leave the set-ups of a chip out, to see how far the others carry.

    Raises
    ------
    InfeasibleError
        A needed number is blank, or the chip has no memory bandwidth.
    """
    if not chip.memory_bytes_per_s > 0.0:
        raise InfeasibleError(f"{chip.name} has no memory bandwidth")
    notes: list[str] = []
    key = key_of(case.op, case.kernel)
    dtype = _assumed(case.dtype, "bf16", "dtype", notes)
    work = work_of(key, _rows(case), _width(case), dtype)
    match = find(case, key, without)
    if match.assumption:
        notes.append(match.assumption)
    if not case.mode:
        notes.append("mode blank: as the set-up was measured")
    if match.setup.rows == 0:
        notes.append(f"{case.op} was not measured on this set-up: shares of other operators")
    time = ElementwiseConstants.of(match.setup.constants).time_s(work, _memory(chip, notes))
    one = match.setup
    return Estimate(
        time_s=float(time),
        log_sd=match.log_sd,
        model=f"elementwise law {one.chip} {one.stack} {one.fitted}",
        assumptions=tuple(notes),
    )


@cache
def _setups(key: str) -> tuple[Setup, ...]:
    """Set-ups of one operator; the format of the array is in its bytes, not in the constants."""
    wanted = PLAIN_COPY if key == "copy" else key
    return tuple(one for one in load_setups(TABLE) if one.kernel == wanted)


def find(case: OpCase, key: str, without: str = "") -> Match:
    """Set-up that speaks for a case; what was measured before what was inferred."""
    some = _setups(key)
    measured = [one for one in some if one.rows > 0 and one.chip == case.chip != without]
    wanted = Wanted(chip=case.chip, stack=case.stack, mode=case.mode)
    exact = nearest(some, wanted, without=without, same_engine=True)
    if exact.distance is Distance.EXACT or not measured:
        return _from_measured(some, wanted, without) if exact.distance > 1 else exact
    return nearest(measured, wanted, without=without, same_engine=True)


def _from_measured(some: tuple[Setup, ...], wanted: Wanted, without: str) -> Match:
    """Borrow from chips where the operator was measured, if there are any."""
    measured = [one for one in some if one.rows > 0 and one.chip != without]
    match = nearest(measured or some, wanted, without=without, same_engine=True)
    spread = match.setup.constants.get("borrowed_log_sd", 0.0)
    return Match(
        setup=match.setup,
        distance=match.distance,
        log_sd=max(match.log_sd, spread),
        assumption=match.assumption,
    )


def _rows(case: OpCase) -> float:
    if case.m > 0.0:
        return case.m
    if math.isnan(case.m) and case.batch > 0.0:
        return case.batch * case.given("q_len", 1.0)
    case.needs("m")
    raise AssertionError  # needs() has raised


def _width(case: OpCase) -> float:
    if math.isnan(case.n) and case.op == "rope":
        case.needs("heads", "head_dim")
        return (case.heads + case.given("kv_heads", case.heads)) * case.head_dim
    case.needs("n")
    return case.n


def _assumed(text: str, default: str, name: str, notes: list[str]) -> str:
    if not text:
        notes.append(f"{name} blank: {default}")
    return text or default


def _memory(chip: ChipSpec, notes: list[str]) -> Memory:
    cores, cache_bytes = float(chip.cores), chip.l2_bytes
    if not cores > 0.0:
        cores = float(CORES)
        notes.append(f"cores of {chip.name} unknown: {CORES}")
    if not cache_bytes > 0.0:
        cache_bytes = CACHE_BYTES_PER_RATE * chip.memory_bytes_per_s
        notes.append(f"last cache of {chip.name} unknown: as much per bandwidth as an A100")
    return Memory(bytes_per_s=chip.memory_bytes_per_s, cache_bytes=cache_bytes, cores=cores)
