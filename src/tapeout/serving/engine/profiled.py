"""A step table from the kernel times of a profile: nothing of it comes from our timing model.

One layer was measured, so times are multiplied by the layers of the model; embedding, final norm,
head and sampler occur once, `layernorm` twice a layer (before attention and before the
feed-forward part). Between points of the grids times are straight lines. Corrections for uneven
keys in a batch are left out: the profile of the RTX 4090 has none that were measured for it.
Launches, host time and energy are not in a profile; their entries are zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.fabric import Collective, System, collective_s, system_topology
from tapeout.numerics import Floats, Ints
from tapeout.perf import load_fit
from tapeout.serving.engine.profile import Curve, Grid, Profile
from tapeout.serving.engine.tables import padded_tokens, slopes
from tapeout.serving.engine.types import PS_PER_S, StepTable
from tapeout.workload import ModelArchitecture
from tapeout.workload.feedforward import MixtureOfExperts

ONCE = ("embedding", "final_layernorm", "lm_head", "sampler")
TWICE = ("layernorm",)
HIDDEN_BYTES = 2.0  # bf16 hidden states and router logits
SLOPE_TOKENS = 512.0  # least cached tokens that the slope of prompt attention is read from


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraExchange:
    """Declared, fitted time of the exchange around the experts of a layer. [s]."""

    layer_s: float = 0.0
    token_s: float = 0.0  # for each token of all ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """How data-parallel ranks share their experts.

    Attributes
    ----------
    ranks : int
    system : System
        Chips and links the ranks talk over.
    extra : ExtraExchange
        Beside the collectives; none unless it is fitted and declared.
    """

    ranks: int
    system: System
    extra: ExtraExchange = ExtraExchange()


def profiled_table(
    profile: Profile,
    architecture: ModelArchitecture,
    *,
    token_budget: int,
    max_sequences: int,
    exchange: Exchange | None = None,
) -> StepTable:
    """Step table of a model whose layer was profiled.

    Parameters
    ----------
    profile : Profile
    architecture : ModelArchitecture
        Gives the number of layers, of experts and of experts a token takes.
    token_budget, max_sequences : int
        Of one data-parallel rank.
    exchange : Exchange, optional
        Data-parallel ranks with experts spread over them; None: one rank.

    Raises
    ------
    InfeasibleError
        A model with experts and a profile without them, or ranks that share no experts.

    Notes
    -----
    Prompt attention was measured for one prompt of P tokens with h cached before: q = h + (P + 1)
    / 2 keys a token. Below h = 0, that is for several prompts in a step and between the knots of
    P, its slope in q goes on downwards, since the work is P q; the shortest chunk is the floor.

    A rank with R others holds E / R experts and runs them on the tokens of all ranks: k / R
    pairs a token, hence the measured time of T_all / R tokens and (E / R) (1 - (1 - k / E)
    ^ T_all) experts hit, uniform routing. vLLM's default exchange (allgather_reducescatter)
    gathers hidden states and router logits of all ranks and scatters the sums.
    """
    rows = np.arange(token_budget + 1)
    dense = _summed(profile.dense, architecture)
    tokens = dense(padded_tokens(token_budget, max_sequences).astype(float))
    shared = np.zeros(1)
    if profile.experts is not None:
        _check(architecture, exchange)
        if exchange is None:
            tokens = tokens + experts_s(profile.experts, architecture, rows.astype(float))
        else:
            every = np.arange(exchange.ranks * token_budget + 1, dtype=float)
            shared = experts_s(profile.experts, architecture, every, exchange.ranks)
            shared = shared + exchange_s(architecture, every, exchange)
    elif architecture.experts:
        raise InfeasibleError(f"{architecture.name} has experts; the profile lacks moe.csv")
    heads = _summed(profile.per_sequence, architecture)(np.arange(max_sequences + 1.0))
    return _table(profile, len(architecture.layers), tokens, heads, shared)


def _table(
    profile: Profile, layers: int, tokens: Floats, sampled: Floats, shared: Floats
) -> StepTable:
    contexts = profile.decode.axes[1].astype(np.int64)
    decode_ps = _ps(layers * _decode(profile.decode, sampled.size))
    keys = _keys(profile.mixed)
    mixed = layers * PS_PER_S * _by_keys(profile.mixed, keys, contexts)
    return StepTable(
        tokens_ps=_ps(tokens),
        sampled_ps=_ps(sampled),
        contexts=contexts,
        decode_ps=decode_ps,
        slope_ps=slopes(decode_ps, contexts),
        prefill=profile.mixed.axes[0],
        keys=keys,
        sequences=profile.mixed.axes[2],
        mixed_ps=mixed,
        shared_ps=_ps(shared),
        tokens_j=np.zeros(tokens.size),
        sampled_j=np.zeros(sampled.size),
        decode_j=np.zeros(decode_ps.shape),
        mixed_j=np.zeros(mixed.shape),
        shared_j=np.zeros(shared.size),
    )


def experts_s(
    experts: Grid, architecture: ModelArchitecture, tokens: Floats, ranks: int = 1
) -> Floats:
    """Time of all layers with experts on one rank, by the tokens of all ranks. [s]."""
    share = architecture.top_k / architecture.experts
    hit = architecture.experts / ranks * (1.0 - (1.0 - share) ** tokens)
    once = _bilinear(experts, tokens / ranks, hit)
    return np.where(tokens > 0.0, expert_layers(architecture) * once, 0.0)


def exchange_s(architecture: ModelArchitecture, tokens: Floats, exchange: Exchange) -> Floats:
    """Time of the exchange around the experts of all layers, by the tokens of all ranks. [s]."""
    quality = load_fit().generic.link_quality
    topology = system_topology(exchange.system, exchange.ranks, quality)
    width = architecture.hidden + architecture.experts  # hidden states and router logits
    gathered = collective_s(
        Collective.ALL_GATHER, HIDDEN_BYTES * width * tokens, exchange.ranks, topology
    )
    scattered = collective_s(
        Collective.REDUCE_SCATTER,
        HIDDEN_BYTES * architecture.hidden * tokens,
        exchange.ranks,
        topology,
    )
    extra = exchange.extra.layer_s + exchange.extra.token_s * tokens
    once = gathered + scattered + extra
    return np.where(tokens > 0.0, expert_layers(architecture) * once, 0.0)


def expert_layers(architecture: ModelArchitecture) -> int:
    """Layers with routed experts."""
    return sum(
        any(isinstance(part, MixtureOfExperts) for part in layer.feed_forwards)
        for layer in architecture.layers
    )


def _check(architecture: ModelArchitecture, exchange: Exchange | None) -> None:
    if not architecture.experts:
        raise InfeasibleError(f"{architecture.name} has no experts; the profile has moe.csv")
    if exchange is not None and architecture.experts % exchange.ranks:
        raise InfeasibleError(
            f"{architecture.experts} experts over {exchange.ranks} ranks: give ranks that divide"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sum:
    """Curves with how often each occurs in a step."""

    curves: tuple[tuple[float, Curve], ...]

    def __call__(self, count: Floats) -> Floats:
        total = np.zeros_like(count)
        for times, curve in self.curves:
            total = total + times * curve(count)
        return total


def _summed(curves: Mapping[str, Curve], architecture: ModelArchitecture) -> _Sum:
    layers = float(len(architecture.layers))
    often = {**dict.fromkeys(ONCE, 1.0), **dict.fromkeys(TWICE, 2.0 * layers)}
    return _Sum(curves=tuple((often.get(name, layers), curve) for name, curve in curves.items()))


def _decode(decode: Grid, size: int) -> Floats:
    """Decode attention of 0, 1 ... sequences, shape (size, context); the last slope goes on."""
    count = np.arange(size, dtype=float)
    columns = [Curve(at=decode.axes[0], time_s=column)(count) for column in decode.time_s.T]
    found: Floats = np.stack(columns, axis=1)
    return found


def _keys(mixed: Grid) -> Floats:
    """Knots of q: those of every chunk without cached tokens, and what was cached."""
    alone = (mixed.axes[0] + 1.0) / 2.0
    longest = mixed.axes[1][-1] + alone[-1]
    return np.unique(np.concatenate([[1.0], alone, mixed.axes[1][mixed.axes[1] > 1.0], [longest]]))


def _by_keys(mixed: Grid, keys: Floats, contexts: Ints) -> Floats:
    """Times over (P, q, N, K / N) from those over (P, cached, N, keys of each)."""
    chunks, cached, sequences, held = mixed.axes
    shape = (chunks.size, keys.size, sequences.size, contexts.size)
    found = np.zeros(shape)
    for n in range(sequences.size):
        for k, context in enumerate(contexts.astype(float)):
            at = np.clip(context, held[0], held[-1])
            plane = np.stack(
                [
                    [np.interp(at, held, mixed.time_s[p, h, n]) for h in range(cached.size)]
                    for p in range(chunks.size)
                ]
            )
            found[:, :, n, k] = _plane(plane, chunks, cached, keys)
    return found


def _plane(plane: Floats, chunks: Floats, cached: Floats, keys: Floats) -> Floats:
    """One (P, q) table from one (P, cached) table."""
    rows = []
    for chunk, row in zip(chunks, plane, strict=True):
        before = keys - (chunk + 1.0) / 2.0
        far = np.searchsorted(cached, min(max(chunk, SLOPE_TOKENS), cached[-1]))
        rise = (row[far] - row[0]) / max(cached[far] - cached[0], 1.0)
        last = (row[-1] - row[-2]) / (cached[-1] - cached[-2]) if cached.size > 1 else 0.0
        inside = np.interp(before, cached, row) + np.maximum(before - cached[-1], 0.0) * last
        below = np.maximum(row[0] + rise * np.minimum(before, 0.0), min(plane[0, 0], row[0]))
        rows.append(np.where(before < 0.0, below, inside))
    found: Floats = np.stack(rows)
    return found


def _bilinear(grid: Grid, first: Floats, second: Floats) -> Floats:
    """Straight lines in both; the nearest edge outside, beyond the last of the first its slope."""
    at, values = grid.axes[0], grid.time_s
    low = np.clip(np.searchsorted(at, first, "right") - 1, 0, max(at.size - 2, 0))
    high = np.minimum(low + 1, at.size - 1)
    columns = np.stack([np.interp(second, grid.axes[1], row) for row in values])
    place = np.arange(first.size)
    below, above = columns[low, place], columns[high, place]
    weight = np.maximum((first - at[low]) / np.maximum(at[high] - at[low], 1.0), 0.0)
    found: Floats = below + weight * (above - below)
    return found


def _ps(time_s: Floats) -> Ints:
    return np.rint(PS_PER_S * time_s).astype(np.int64)
