"""Attention of one step on one chip: prefill, decode and mixed, in closed form.

The skeleton is that of the GEMM law (query tiles or cache chunks dealt to cores in waves, a
fourth-power norm of arithmetic and memory traffic, a launch floor) with what attention has of its
own: score pairs of a causal mask or a window, exponentials on the vector unit, queries of one key
head packed into a tile, a cache cut into chunks where heads alone do not fill the cores, and short
caches that stay in the last-level cache. Every function broadcasts over its arrays.

References
----------
.. [1] T. Dao, "FlashAttention-2", ICLR 2024: tiles of queries, waves.
.. [2] J. Shah et al., "FlashAttention-3", NeurIPS 2024: exponentials beside the matrix unit.
.. [3] T. Dao et al., "Flash-Decoding for long-context inference", 2023: chunks and merge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tapeout.constants import FLOP_PER_MAC
from tapeout.numerics import Floats
from tapeout.perf.law import smooth_maximum

Constants = Mapping[str, float]
Values = Floats | float

PLAIN_WIDTH = 128.0  # head size up to which tiles keep their full height
PACKED_ROWS = 16.0  # least rows of a matrix instruction; fewer are padded
CAPTURED_SEQUENCES = 512.0  # largest batch that vLLM captures as a graph by default
HOT_SHARPNESS = 4.0  # how sharply a cache stops fitting into the last-level cache


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionRates:
    """What the law needs to know of a chip and its number formats.

    Attributes
    ----------
    peak_flop_per_s : float
        Dense peak of the format the scores are computed in. [FLOP/s]
    bytes_per_s : float
        Nominal memory bandwidth. [B/s]
    cores : float
        Cores that tiles are dealt to.
    l2_bytes : float
        Last cache before memory; 0 where unknown. [B]
    kv_bytes, activation_bytes : float
        Size of one element of the cache, and of queries and output. [B]
    """

    peak_flop_per_s: float
    bytes_per_s: float
    cores: float
    l2_bytes: float = 0.0
    kv_bytes: float = 2.0
    activation_bytes: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Shapes of attention calls of one chip, after sharding; all fields broadcast.

    Attributes
    ----------
    batch : array
        Sequences.
    q, c : array
        New tokens and tokens already cached, per sequence.
    heads, kv_heads : array
        Query heads, and heads of keys and values.
    key_dim, value_dim : array
        Width of a key (and query) and of a value head.
    window : array
        Keys a query sees, its own included; 0 for all.
    stored_dim : array
        Elements the cache holds per token and key head; 0 for key_dim + value_dim. A latent cache
        holds key_dim only, because values are a part of the keys.
    """

    batch: Values
    q: Values
    c: Values
    heads: Values
    kv_heads: Values
    key_dim: Values
    value_dim: Values
    window: Values = 0.0
    stored_dim: Values = 0.0

    @property
    def span(self) -> Floats:
        """Keys a query may see at most; infinite without a window."""
        window = np.asarray(self.window, dtype=float)
        return np.where(window > 0.0, window, np.inf)

    @property
    def stored(self) -> Floats:
        """Elements of the cache per token, all key heads."""
        stored = np.asarray(self.stored_dim, dtype=float)
        width = np.where(stored > 0.0, stored, np.add(self.key_dim, self.value_dim))
        return np.asarray(self.kv_heads * width, dtype=float)


def score_pairs(q: Values, c: Values, window: Values = 0.0) -> Floats:
    """Query-key pairs of one head of a causal sequence: sum of min(c + j, window), j = 1 to q.

    Parameters
    ----------
    q, c, window : array
        New tokens, cached tokens, keys a query sees (0: all).

    Examples
    --------
    >>> float(score_pairs(4.0, 10.0)), float(score_pairs(4.0, 0.0, 2.0))
    (50.0, 7.0)
    """
    span = np.where(np.asarray(window) > 0.0, window, np.inf)
    growing = np.clip(span - c, 0.0, q)  # queries that still see every key
    capped = np.where(np.isfinite(span), span, 0.0)
    pairs: Floats = growing * c + growing * (growing + 1.0) / 2.0 + (q - growing) * capped
    return pairs


def attention_flop(shape: Attention) -> Floats:
    """Arithmetic of scores and weighted values; exponentials are apart [FLOP]."""
    width = np.add(shape.key_dim, shape.value_dim)
    pairs = shape.batch * shape.heads * score_pairs(shape.q, shape.c, shape.window)
    return np.asarray(FLOP_PER_MAC * width * pairs, dtype=float)


def cache_bytes(shape: Attention, kv_bytes: float) -> Floats:
    """Keys and values that a call reads once [B].

    A window hides what lies before the view of its first query.
    """
    tokens = np.minimum(np.add(shape.c, shape.q), shape.span + shape.q - 1.0)
    return np.asarray(shape.batch * tokens * shape.stored * kv_bytes, dtype=float)


def edge_bytes(shape: Attention, activation_bytes: float) -> Floats:
    """Queries read and outputs written [B]."""
    width = np.add(shape.key_dim, shape.value_dim)
    rows = np.multiply(shape.batch, shape.q) * shape.heads
    return np.asarray(rows * width * activation_bytes, dtype=float)


def prefill_s(shape: Attention, rates: AttentionRates, constants: Constants) -> Floats:
    """Time of causal prefill attention over cached and new tokens [s].

    Parameters
    ----------
    shape : Attention
    rates : AttentionRates
    constants : mapping
        `PREFILL` of `tapeout.perf.ops.attention_constants` names them.

    Notes
    -----
    A tile of `tile_rows` queries of one head (or of all heads of one key head, where that wastes
    fewer rows) walks the keys it sees. A share `wave_share` of kernels deals tiles in whole waves;
    the rest is bound by the mean load of the cores or by the longest tile, whichever is more.
    New keys are written, and queries and keys cast, before the walk starts: passes over memory
    that do not overlap with it. Some kernels mask a window without skipping what it hides.
    """
    tile = constants["tile_rows"]
    group = np.divide(shape.heads, shape.kv_heads)
    plain = shape.heads * np.ceil(np.divide(shape.q, tile))
    packed = shape.kv_heads * np.ceil(shape.q * group / tile)
    tokens = np.where(packed < plain, tile / group, tile)  # of one sequence in a tile
    waves = shape.batch * np.minimum(plain, packed) / rates.cores
    keys, longest = _tile_keys(shape, tokens, constants["window_skip"])
    fill = constants["fill_keys"]
    load = constants["wave_share"] * np.ceil(waves) * (keys + fill) + (
        1.0 - constants["wave_share"]
    ) * np.maximum(waves * (keys + fill), longest + fill)
    compute = load * tile * _pair_s(shape, rates, constants)
    moved = edge_bytes(shape, rates.activation_bytes) + cache_bytes(shape, rates.kv_bytes)
    speed = rates.bytes_per_s * constants["memory_efficiency"]
    time: Floats = (
        constants["launch_s"]
        + constants["tile_s"] * waves
        + _pass_bytes(shape, rates, constants) / speed
        + smooth_maximum(compute, moved / speed)
    )
    return time


def _tile_keys(shape: Attention, tokens: Floats, skip: float) -> tuple[Floats, Floats]:
    """Keys that a tile of `tokens` queries walks: the mean, and the most of any tile.

    A tile computes the corner of its diagonal block too, and with a window the opposite corner.
    """
    reach = np.minimum(tokens, shape.q)
    total = np.add(shape.c, shape.q)
    full = score_pairs(shape.q, shape.c) / shape.q + reach / 2.0
    seen = score_pairs(shape.q, shape.c, shape.window) / shape.q
    seen = np.minimum(seen + np.where(total > shape.span, reach, reach / 2.0), full)
    longest = np.minimum(total, shape.span + reach)
    return skip * seen + (1.0 - skip) * full, skip * longest + (1.0 - skip) * total


def _pass_bytes(shape: Attention, rates: AttentionRates, constants: Constants) -> Floats:
    """Memory traffic of the passes before the walk: new keys and values, queries [B]."""
    fresh = np.multiply(shape.batch, shape.q)
    both = rates.activation_bytes + rates.kv_bytes  # read in one format, written in the other
    keys = fresh * shape.stored * both * constants["write_passes"]
    queries = fresh * shape.heads * shape.key_dim * both * constants["query_passes"]
    return np.asarray(keys + queries, dtype=float)


def _pair_s(shape: Attention, rates: AttentionRates, constants: Constants) -> Floats:
    """Time of one core for one query-key pair: matrix unit, then vector unit [s]."""
    width = np.add(shape.key_dim, shape.value_dim)
    wide = np.maximum(width / (2.0 * PLAIN_WIDTH), 1.0) ** constants["wide_power"]
    matrix = FLOP_PER_MAC * width * wide
    peak = rates.peak_flop_per_s / rates.cores * constants["compute_efficiency"]
    return np.asarray(matrix / peak + 1.0 / constants["exp_per_core_s"], dtype=float)


def decode_s(shape: Attention, rates: AttentionRates, constants: Constants) -> Floats:
    """Time of decode attention [s]: `q` new tokens (one, or a draft) after `c` cached ones.

    Parameters
    ----------
    shape : Attention
    rates : AttentionRates
    constants : mapping
        `DECODE` of `tapeout.perf.ops.attention_constants` names them.

    Notes
    -----
    A unit of work is (sequence, key head, chunk of the cache). Units beyond the cores come in
    waves of `unit_s`; fewer than `core_share` of the cores cannot draw the full bandwidth; a
    cache within the last-level cache is read `l2_ratio` times faster; a split adds `merge_s`.
    Kernels that pack the heads of one key head into a tile pay `pack_s` for it, and `copy_s` where
    that makes them transpose; some split only then (`split_alone` 0). A captured graph may hold a
    fixed number of chunks, launched whether they hold keys or not (`fixed_splits`).
    """
    keys = _decode_keys(shape, constants["window_skip"])
    group = np.divide(shape.heads, shape.kv_heads)
    rows = shape.q * group
    tiles = shape.batch * shape.kv_heads * np.ceil(rows / constants["tile_rows"])
    room = np.maximum(rates.cores / tiles, 1.0)
    room = np.where(group > 1.0, room, 1.0 + (room - 1.0) * constants["split_alone"])
    splits = np.clip(keys / constants["chunk_keys"], 1.0, room)
    captured = np.asarray(shape.batch) <= CAPTURED_SEQUENCES
    splits = np.where(captured, np.maximum(splits, constants["fixed_splits"]), splits)
    units = tiles * splits
    compute = (
        np.maximum(units / rates.cores, 1.0)
        * (keys / splits)
        * (constants["key_s"] + _padded(rows) * _pair_s(shape, rates, constants))
    )
    time: Floats = (
        constants["launch_s"]
        + constants["unit_s"] * np.maximum(units / rates.cores - 1.0, 0.0)
        + constants["merge_s"] * np.minimum(splits - 1.0, 1.0)
        + _pack_s(shape, group, constants)
        + smooth_maximum(compute, _decode_memory_s(shape, units, rates, constants))
    )
    return time


def _decode_keys(shape: Attention, skip: float) -> Floats:
    total = np.add(shape.c, shape.q)
    return np.asarray(skip * np.minimum(total, shape.span) + (1.0 - skip) * total, dtype=float)


def _padded(rows: Floats) -> Floats:
    """Query rows of a tile, filled up to whole matrix instructions."""
    padded: Floats = np.ceil(rows / PACKED_ROWS) * PACKED_ROWS
    return padded


def _pack_s(shape: Attention, group: Floats, constants: Constants) -> Floats:
    grouped = group > 1.0
    both = grouped & (np.asarray(shape.batch) > 1.0) & (np.asarray(shape.kv_heads) > 1.0)
    return np.asarray(constants["pack_s"] * grouped + constants["copy_s"] * both, dtype=float)


def _decode_memory_s(
    shape: Attention, units: Floats, rates: AttentionRates, constants: Constants
) -> Floats:
    moved = cache_bytes(shape, rates.kv_bytes) + edge_bytes(shape, rates.activation_bytes)
    drawn = np.minimum(units / (rates.cores * constants["core_share"]), 1.0)
    hot = hot_share(moved, rates.l2_bytes * constants["l2_share"])
    speed = constants["memory_efficiency"] * drawn * rates.bytes_per_s
    return np.asarray(moved * (1.0 - hot + hot / constants["l2_ratio"]) / speed, dtype=float)


def hot_share(moved_bytes: Floats, l2_bytes: float) -> Floats:
    """Share of a working set that is found in the last-level cache, a smooth step."""
    if l2_bytes <= 0.0:
        return np.zeros_like(np.asarray(moved_bytes, dtype=float))
    share: Floats = 1.0 / (1.0 + (moved_bytes / l2_bytes) ** HOT_SHARPNESS)
    return share


def mixed_s(
    chunk: Attention, decode: Attention, rates: AttentionRates, constants: Constants
) -> Floats:
    """Time of one call that serves prefill chunks and decoding sequences together [s].

    Parameters
    ----------
    chunk, decode : Attention
        The two groups of sequences; `batch` 0 leaves one out. Shapes broadcast to each other.
    rates : AttentionRates
    constants : mapping
        `MIXED` of `tapeout.perf.ops.attention_constants` names them.

    Notes
    -----
    A kernel for sequences of uneven length deals every sequence in tiles of `tile_rows` queries,
    heads unpacked and caches unsplit: a decoding sequence fills a whole tile with one query, so
    that it costs arithmetic as if it had `tile_rows`. This, not a fixed factor, is why a mixed
    step takes longer than its halves. Heads that share keys read them again (`reread_share`)
    unless they find them in the cache.
    """
    tile = constants["tile_rows"]
    skip = constants["window_skip"]
    fill = constants["fill_keys"]
    first = np.minimum(tile, chunk.q)
    walked, most = _tile_keys(chunk, first, skip)
    single = np.asarray(_decode_keys(decode, skip), dtype=float)
    tiles = np.multiply(chunk.batch, chunk.heads) * np.ceil(np.divide(chunk.q, tile))
    singles = np.multiply(decode.batch, decode.heads) * np.ceil(np.divide(decode.q, tile))
    turns = tiles * (walked + fill) + constants["single_cost"] * singles * (single + fill)
    longest = np.maximum(
        np.where(np.asarray(chunk.batch) > 0.0, most, 0.0),
        np.where(np.asarray(decode.batch) > 0.0, constants["single_cost"] * single, 0.0),
    )
    waves = (tiles + singles) / rates.cores
    stretch = constants["wave_share"] * np.ceil(waves) / waves + 1.0 - constants["wave_share"]
    load = np.maximum(turns / rates.cores * stretch, longest + fill)
    compute = load * tile * _pair_s(chunk, rates, constants)
    again = constants["reread_share"] * (np.divide(chunk.heads, chunk.kv_heads) - 1.0)
    cached = cache_bytes(chunk, rates.kv_bytes) + cache_bytes(decode, rates.kv_bytes)
    edges = edge_bytes(chunk, rates.activation_bytes) + edge_bytes(decode, rates.activation_bytes)
    speed = rates.bytes_per_s * constants["memory_efficiency"]
    memory = (edges + cached * (1.0 + again)) / speed
    time: Floats = (
        constants["launch_s"] + constants["tile_s"] * waves + smooth_maximum(compute, memory)
    )
    return time
