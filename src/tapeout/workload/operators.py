"""The operators of an engine step: FLOP, bytes and messages of any mix of prefill and decode.

Conventions of the table:

- FLOP, bytes and messages are totals over `count` repetitions; m, n, k are of one repetition.
- Identical rows of different layers are merged; `count` says how many there are.
- gemm: m rows times a k x n matrix. Weight bytes are read once a step, whatever m is.
- grouped_gemm: m is token-expert pairs (T k) over all experts; weight bytes are those of the
  experts that T tokens are expected to hit, so hit experts = weight_bytes / bytes of one copy.
- attention: m is query rows, n the key-value heads, k the elements of a key and a value.
  kv_bytes are what is read of the cache plus what is written to it.
- scan: m is token rows, n the independent states; kv_bytes are states read and written.
- activation_bytes are what a kernel reads and writes without fusion, with inputs of products in
  the format they are multiplied in and everything else in bf16. A fusing engine moves less.

How `shard` is meant:

- "column": FLOP, weights and activations are divided; nothing follows.
- "row": the same, and an all-reduce of `message_bytes` (rows x hidden x 2 bytes) follows. The
  embedding is cut by vocabulary and reduced the same way.
- "head": FLOP and activations are divided by the degree; kv_bytes by at most n (the key-value
  heads): beyond that, and for latents (n = 1), every rank reads the whole cache. Scans are cut
  into at most n.
- "expert": cut by the tensor or the expert degree. Under expert parallelism `message_bytes` of
  the first expert matrix is the dispatch and of the last the combine, both counted once a
  token-expert pair, before any merging of experts on one rank. Under tensor parallelism there is
  no dispatch, and the all-reduce that follows carries the combine divided by top-k. That
  reduction also serves the shared experts, whose row-cut matrix has no message of its own.
- "replicated": every rank does all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tapeout.numerics import Floats, Ints
from tapeout.workload.architecture import ModelArchitecture
from tapeout.workload.drivers import SAMPLED, TOKENS, Driver, Once, step_of
from tapeout.workload.formats import weight_element_bytes
from tapeout.workload.parts import (
    ACTIVATION_BYTES,
    LOGIT_BYTES,
    Row,
    Term,
)
from tapeout.workload.types import OperatorTable, StepMix, TensorFormats

NORM_FLOP = 8.0  # per element, fused with the residual add
NORM_PASSES = 4.0  # read two, write two
SAMPLE_PASSES = 3.0  # temperature, softmax and top-p over fp32 logits
SAMPLE_FLOP = 10.0  # per logit
_COLUMNS = ("m", "flop", "weight", "activation", "kv", "message")


def operators(
    architecture: ModelArchitecture, mix: StepMix, formats: TensorFormats
) -> OperatorTable:
    """List the operators of steps of one whole replica.

    Parameters
    ----------
    architecture : ModelArchitecture
    mix : StepMix
        Steps, every field of shape (step,). Prompts of a step are taken as equally long, decoding
        sequences as equally deep in their context.
    formats : TensorFormats
        `weight` for the matrices, `expert` for those of routed experts, `embedding` for the rest.

    Returns
    -------
    OperatorTable
        Arrays (op, step) that must not be written to; conventions in the module's docstring.

    Raises
    ------
    UnknownNameError
        A format is not in `FORMAT_BYTES`.
    """
    plan = _plan(architecture, formats)
    step = step_of(mix)
    values = np.stack([driver.evaluate(step) for driver in plan.drivers])
    shape = (plan.count.size, values.shape[1])
    column = {name: plan.factor[name][:, None] * values[plan.driver[name]] for name in _COLUMNS}
    return OperatorTable(
        name=plan.name,
        kind=plan.kind,
        dtype=plan.dtype,
        shard=plan.shard,
        m=column["m"],
        n=np.broadcast_to(plan.n[:, None], shape),
        k=np.broadcast_to(plan.k[:, None], shape),
        count=np.broadcast_to(plan.count[:, None], shape),
        flop=column["flop"],
        weight_bytes=column["weight"],
        activation_bytes=column["activation"],
        kv_bytes=column["kv"],
        message_bytes=column["message"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A table before its steps are known: factors and the drivers they multiply."""

    name: tuple[str, ...]
    kind: tuple[str, ...]
    dtype: tuple[str, ...]
    shard: tuple[str, ...]
    n: Floats
    k: Floats
    count: Floats
    factor: dict[str, Floats]  # totals over count, except m
    driver: dict[str, Ints]
    drivers: tuple[Driver, ...]


@lru_cache(maxsize=128)
def _plan(architecture: ModelArchitecture, formats: TensorFormats) -> _Plan:
    counted = _merged_rows(architecture, formats)
    rows = tuple(counted)
    count = np.array([float(counted[row]) for row in rows])
    drivers: dict[Driver, int] = {}
    factor: dict[str, Floats] = {}
    driver: dict[str, Ints] = {}
    for column in _COLUMNS:
        terms: list[Term] = [getattr(row, column) for row in rows]
        repeated = 1.0 if column == "m" else count
        factor[column] = np.array([term.factor for term in terms]) * repeated
        driver[column] = np.array(
            [drivers.setdefault(term.driver, len(drivers)) for term in terms], dtype=np.int64
        )
    return _Plan(
        name=_unique([row.name for row in rows]),
        kind=tuple(row.kind for row in rows),
        dtype=tuple(row.dtype for row in rows),
        shard=tuple(row.shard for row in rows),
        n=np.array([float(row.n) for row in rows]),
        k=np.array([float(row.k) for row in rows]),
        count=count,
        factor=factor,
        driver=driver,
        drivers=tuple(drivers),
    )


def _merged_rows(architecture: ModelArchitecture, formats: TensorFormats) -> dict[Row, int]:
    """Collect the rows of all layers, equal ones once with their number."""
    hidden = architecture.hidden
    counted: dict[Row, int] = {_embedding_row(architecture): 1}
    for layer, times in architecture.distinct_layers().items():
        for part in layer.parts():
            products = [matrix.row(formats) for matrix in part.matrices(hidden)]
            for row in (*products, *part.rows(hidden, formats)):
                counted[row] = counted.get(row, 0) + times
    norms = 1 + sum(layer.norms for layer in architecture.layers)
    counted[_norm_row(architecture, formats, norms)] = norms
    counted[architecture.head_matrix().row(formats)] = 1
    counted[_sample_row(architecture)] = 1
    return counted


def _embedding_row(architecture: ModelArchitecture) -> Row:
    """Gather one row a token: no arithmetic, and no more of the table than is looked up."""
    width = ACTIVATION_BYTES * architecture.hidden
    return Row(
        name="embedding",
        kind="embedding",
        dtype="bf16",
        shard="row",
        m=Term(1.0, TOKENS),
        n=float(architecture.hidden),
        k=1.0,
        flop=Term(0.0, TOKENS),
        activation=Term(2.0 * width, TOKENS),
        message=Term(width, TOKENS),
    )


def _norm_row(architecture: ModelArchitecture, formats: TensorFormats, norms: int) -> Row:
    """Norms with their residual adds; the small parameters of all layers are charged here."""
    width = architecture.hidden
    small = small_elements(architecture) * weight_element_bytes(formats.embedding)
    return Row(
        name="norm",
        kind="norm",
        dtype="bf16",
        shard="replicated",
        m=Term(1.0, TOKENS),
        n=float(width),
        k=1.0,
        flop=Term(NORM_FLOP * width, TOKENS),
        weight=Term(small / norms, Once()),
        activation=Term(NORM_PASSES * ACTIVATION_BYTES * width, TOKENS),
    )


def _sample_row(architecture: ModelArchitecture) -> Row:
    logits = float(architecture.vocabulary)
    return Row(
        name="sample",
        kind="sample",
        dtype="bf16",
        shard="replicated",
        m=Term(1.0, SAMPLED),
        n=logits,
        k=1.0,
        flop=Term(SAMPLE_FLOP * logits, SAMPLED),
        activation=Term(SAMPLE_PASSES * LOGIT_BYTES * logits, SAMPLED),
    )


def small_elements(architecture: ModelArchitecture) -> int:
    """Parameters in no matrix and no embedding: norms, convolutions, sinks, decay rates."""
    total = architecture.outer_elements
    for layer, times in architecture.distinct_layers().items():
        inner = sum(part.small_elements(architecture.hidden) for part in layer.parts())
        total += times * (layer.norm_elements + inner)
    return total


def _unique(names: list[str]) -> tuple[str, ...]:
    """Number the names that occur more than once: "qkv", "qkv.2"."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        result.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return tuple(result)
