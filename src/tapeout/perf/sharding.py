"""How a placement cuts the operators of a replica: what the busiest chip does, what is sent.

Degrees: `tensor_parallel` ranks share one set of sequences; `data_parallel` groups of them each
take their part of the sequences and share one set of experts, which lie on all
R = tensor x data ranks: `expert_parallel` of them hold different experts, the other R / expert
ranks cut each expert. A pipeline stage works on 1/pp of the step at a time; see `microbatch`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.fabric import Collective
from tapeout.numerics import Floats
from tapeout.perf.types import Degrees
from tapeout.workload.types import OperatorTable, StepMix

COMBINE = "down"  # suffix of the operator whose result leaves the experts
HIDDEN_BYTES = 2.0  # residual stream is bf16


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Collectives of one operation over one group: arrays have shape (step,)."""

    operation: Collective
    ranks: int
    message_bytes: Floats  # of one call
    calls: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Work of the busiest chip, all layers of the replica; arrays have shape (op, step).

    `flop`, `moved_bytes` and `launches` are what one chip would do if it held every layer: with
    pipeline stages each chip does 1/pp of it, and the pp stages of a microbatch follow one another.
    `uneven_rows` and `uneven_weights` are the busiest chip over the mean.
    """

    flop: Floats
    weight_bytes: Floats
    activation_bytes: Floats
    kv_bytes: Floats
    launches: Floats
    uneven_rows: Floats
    uneven_weights: Floats
    messages: tuple[Message, ...]

    def scaled(self, share: Floats) -> Shard:
        """Work of a chip that is busy for a share of a step, shape (step,)."""
        return replace(
            self,
            flop=self.flop * share,
            weight_bytes=self.weight_bytes * share,
            activation_bytes=self.activation_bytes * share,
            kv_bytes=self.kv_bytes * share,
        )

    @property
    def mean_flop(self) -> Floats:
        """FLOP of the average chip, shape (op, step)."""
        mean: Floats = self.flop / self.uneven_rows
        return mean

    @property
    def mean_bytes(self) -> Floats:
        """Bytes through the memory of the average chip, shape (op, step)."""
        mean: Floats = (
            self.weight_bytes / self.uneven_weights
            + self.activation_bytes / self.uneven_rows
            + self.kv_bytes
        )
        return mean

    @property
    def moved_bytes(self) -> Floats:
        """Bytes through the memory of the chip, shape (op, step)."""
        total: Floats = self.weight_bytes + self.activation_bytes + self.kv_bytes
        return total


def check_degrees(degrees: Degrees) -> None:
    """Refuse degrees that do not divide one another.

    Raises
    ------
    InfeasibleError
        A degree is below one, or expert parallelism does not divide the ranks.
    """
    for one in fields(degrees):
        if getattr(degrees, one.name) < 1:
            raise InfeasibleError(
                f"{one.name} parallelism {getattr(degrees, one.name)}: a degree is at least 1"
            )
    if degrees.ranks % degrees.expert:
        raise InfeasibleError(
            f"expert parallelism {degrees.expert} does not divide the {degrees.ranks} ranks of "
            "tensor x data parallelism"
        )


def microbatch(mix: StepMix, stages: int) -> StepMix:
    """Part of a step that one pipeline stage works on at a time; at least one sequence or prompt.

    With fewer sequences than stages some stages idle, so the part is not made smaller than one.
    """
    if stages == 1:
        return mix
    sequences = mix.decode_sequences + mix.prefill_sequences
    part = np.minimum(1.0, np.maximum(1.0 / stages, 1.0 / np.maximum(sequences, 1.0)))
    return replace(
        mix,
        prefill_tokens=mix.prefill_tokens * part,
        prefill_sequences=mix.prefill_sequences * part,
        decode_sequences=mix.decode_sequences * part,
        decode_kv_tokens=mix.decode_kv_tokens * part,
        sampled_sequences=mix.sampled_sequences * part,
    )


def imbalance(rows: Floats, ranks: int) -> Floats:
    """Rows of the fullest expert rank over the mean, uniform routing.

    `1 + sqrt(2 ln R (1 - 1/R) / mu)` with mu rows a rank on average (reference 1.4: within 20 %
    of simulation from 16 tokens up), and never more than all rows on one rank.
    """
    if ranks == 1:
        return np.ones_like(rows)
    mean = np.maximum(rows / ranks, 1e-9)  # an empty step has no rows
    spread = 1.0 + np.sqrt(2.0 * np.log(ranks) * (1.0 - 1.0 / ranks) / mean)
    most: Floats = np.minimum(spread, float(ranks))
    return most


def shard(table: OperatorTable, degrees: Degrees, tokens: Floats, held_bytes: Floats) -> Shard:
    """Cut a table of a whole replica.

    Parameters
    ----------
    table : OperatorTable
        Of one microbatch, over all data-parallel groups.
    degrees : Degrees
    tokens : array, shape (step,)
        Token rows of the microbatch.
    held_bytes : array, shape (op,)
        Weights each operator could read at most, all experts included. [B]

    Raises
    ------
    InfeasibleError
        Degrees that do not fit one another.
    """
    check_degrees(degrees)
    tensor, data = degrees.tensor, degrees.data
    ranks = degrees.ranks
    cut = np.array(table.shard)[:, None]
    expert = cut == "expert"
    split = np.where((cut == "column") | (cut == "row") | (cut == "head"), float(tensor), 1.0)
    uneven = np.where(expert, imbalance(table.m, degrees.expert), 1.0)
    # A rank reads no more experts than it holds.
    most = held_bytes[:, None] / np.maximum(table.weight_bytes, np.finfo(float).tiny)
    fullest = np.where(expert, np.minimum(uneven, np.maximum(most, 1.0)), 1.0)
    share = np.where(expert, uneven / ranks, 1.0 / (split * data))
    keys = np.where(cut == "head", np.minimum(tensor, np.maximum(table.n, 1.0)), 1.0)
    busy = (table.flop + table.activation_bytes + table.kv_bytes) > 0.0
    return Shard(
        flop=table.flop * share,
        weight_bytes=table.weight_bytes * np.where(expert, fullest / ranks, 1.0 / split),
        activation_bytes=table.activation_bytes * _activation_share(table, degrees, share),
        kv_bytes=table.kv_bytes / (keys * data),
        launches=np.where(busy, table.count, 0.0),
        uneven_rows=uneven,
        uneven_weights=fullest,
        messages=_messages(table, degrees, tokens),
    )


def _activation_share(table: OperatorTable, degrees: Degrees, share: Floats) -> Floats:
    """Share of activations a rank moves: a cut GEMM still reads or writes one side whole."""
    tensor, data = float(degrees.tensor), float(degrees.data)
    cut = np.array(table.shard)[:, None]
    gemm = np.array([kind == "gemm" for kind in table.kind])[:, None]
    read = table.k / np.maximum(table.n + table.k, 1.0)
    column = (read + (1.0 - read) / tensor) / data
    row = (read / tensor + 1.0 - read) / data
    return np.where(gemm & (cut == "column"), column, np.where(gemm & (cut == "row"), row, share))


def _messages(table: OperatorTable, degrees: Degrees, tokens: Floats) -> tuple[Message, ...]:
    """Collectives that follow the operators, one entry an operator that needs one."""
    found: list[Message] = []
    for place in np.flatnonzero(table.message_bytes.any(axis=1)).tolist():
        cut = table.shard[place]
        if cut == "row":
            found.append(
                Message(
                    operation=Collective.ALL_REDUCE,
                    ranks=degrees.tensor,
                    message_bytes=_per_call(table, place) / degrees.data,
                    calls=_calls(table, place),
                )
            )
        elif cut == "expert":
            found.extend(_expert_messages(table, degrees, tokens, place))
    found.extend(_stage_messages(table, degrees, tokens))
    return tuple(message for message in found if message.ranks > 1)


def _expert_messages(
    table: OperatorTable, degrees: Degrees, tokens: Floats, place: int
) -> tuple[Message, ...]:
    """Exchange around the experts.

    One attention group: every rank holds all tokens, so only the sum of the results is needed.
    Several: tokens travel to the ranks of their experts and back, once for each distinct rank, or
    with experts cut by tensor to all ranks and back.
    """
    ranks = degrees.ranks
    used = table.m[place] / np.maximum(tokens, 1.0)  # experts of one token
    one_copy = _per_call(table, place) / np.maximum(used, 1.0)
    if degrees.data == 1:
        if not is_combine(table.name[place]):
            return ()
        operation, size = Collective.ALL_REDUCE, one_copy
    elif degrees.expert == 1:
        combine = is_combine(table.name[place])
        operation = Collective.REDUCE_SCATTER if combine else Collective.ALL_GATHER
        size = one_copy
    else:
        distinct = ranks * (1.0 - (1.0 - 1.0 / ranks) ** used)
        operation, size = Collective.ALL_TO_ALL, one_copy * distinct / ranks
    return (
        Message(operation=operation, ranks=ranks, message_bytes=size, calls=_calls(table, place)),
    )


def _stage_messages(table: OperatorTable, degrees: Degrees, tokens: Floats) -> tuple[Message, ...]:
    """Hidden states sent from each pipeline stage to the next, and back to the first."""
    if degrees.pipeline == 1:
        return ()
    widths = [float(np.max(table.n[i])) for i, cut in enumerate(table.shard) if cut == "row"]
    size = tokens / degrees.data * max(widths, default=0.0) * HIDDEN_BYTES
    return (
        Message(
            operation=Collective.SEND,
            ranks=degrees.ranks * degrees.pipeline,
            message_bytes=size,
            calls=np.full_like(size, float(degrees.pipeline)),
        ),
    )


def _per_call(table: OperatorTable, place: int) -> Floats:
    size: Floats = table.message_bytes[place] / np.maximum(table.count[place], 1.0)
    return size


def _calls(table: OperatorTable, place: int) -> Floats:
    return np.where(table.message_bytes[place] > 0.0, table.count[place], 0.0)


def is_combine(name: str) -> bool:
    """True for the last matrix of the experts; equal names are numbered "expert_down.2"."""
    return name.partition(".")[0].endswith(COMBINE)
