"""State-space and linear layers: Mamba-1, Mamba-2, gated DeltaNet, linear attention.

Their state does not grow with the context. Decode reads and writes it once per token; prefill
works in chunks with small matrix products inside and a serial pass of states between. FLOP and
bytes are closed forms of the recurrences [1]_ [2]_ [3]_; no kernel of this kind was measured at
operator level, so efficiencies are those of small matrix products and of copies, and the band is
wide.

References
----------
.. [1] A. Gu, T. Dao, "Mamba: linear-time sequence modeling with selective state spaces", 2023.
.. [2] T. Dao, A. Gu, "Transformers are SSMs", ICML 2024, section 6: the chunked form.
.. [3] S. Yang et al., "Gated delta networks", ICLR 2025: the WY form in chunks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tapeout.chip import ChipSpec
from tapeout.constants import MICRO
from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats
from tapeout.perf.law import smooth_maximum
from tapeout.perf.ops.attention import AttentionRates, Values
from tapeout.perf.ops.attention_cases import rates
from tapeout.perf.ops.cases import Estimate, OpCase

KINDS = ("mamba1", "mamba2", "gated_deltanet", "linear_attention")
SCAN_LOG_SD = 0.5  # no measurement at operator level: 80 % band of -47/+90 %, an assumption
STATE_BYTES = 4.0  # fp32, what engines keep states in
CHUNK = {"mamba1": 1.0, "mamba2": 256.0, "gated_deltanet": 64.0, "linear_attention": 256.0}
VECTOR_FLOP_PER_MATRIX = 1.0 / 16.0  # vector over matrix rate; 67 of 989 TFLOP/s on an H100
COMPUTE_EFFICIENCY = 0.3  # small products of chunk x state, a third of peak
MEMORY_EFFICIENCY = 0.75
LAUNCH_S = 8.0 * MICRO  # scan and convolution, two kernels in a graph
CHUNK_STEP_S = 1.0 * MICRO  # a state handed from one chunk to the next
HEAD_DIM, STATE_DIM = 64.0, 128.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Shapes of one layer's recurrence on one chip; all broadcast.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    batch, q : array
        Sequences, and new tokens of each.
    heads, head_dim : array
        Value heads and their width; for Mamba-1 their product is the number of channels.
    state_dim : array
        Rows of the state of one head: N of Mamba, key width of the others.
    groups : array
        Groups that share B and C in Mamba-2.
    """

    kind: str
    batch: Values
    q: Values
    heads: Values
    head_dim: Values
    state_dim: Values
    groups: Values = 1.0

    @property
    def state(self) -> Floats:
        """Elements of the state of one sequence."""
        return np.asarray(self.heads * np.multiply(self.head_dim, self.state_dim), dtype=float)


def decode_flop(scan: Scan) -> Floats:
    """Arithmetic of one new token of one sequence by the recurrence [FLOP]."""
    per_element = {"mamba1": 9.0, "mamba2": 5.0, "gated_deltanet": 7.0, "linear_attention": 4.0}
    return per_element[scan.kind] * scan.state


def prefill_flop(scan: Scan) -> Floats:
    """Arithmetic of one token of one sequence in the chunked form [FLOP]."""
    chunk = np.minimum(CHUNK[scan.kind], scan.q)
    values = np.multiply(scan.heads, scan.head_dim)
    if scan.kind == "mamba1":
        return decode_flop(scan)  # no matrix form
    if scan.kind == "mamba2":
        inside = chunk * (np.multiply(scan.groups, scan.state_dim) + values)
        return np.asarray(inside + 4.0 * scan.state + 3.0 * scan.state / chunk, dtype=float)
    if scan.kind == "linear_attention":
        inside = chunk * scan.heads * np.add(scan.head_dim, scan.state_dim)
        return np.asarray(inside + 4.0 * scan.state, dtype=float)
    widths = 3.0 * np.asarray(scan.state_dim) + 2.0 * np.asarray(scan.head_dim)
    inside = np.asarray(scan.heads) * (2.0 * chunk * widths + chunk**2 / 3.0)
    return np.asarray(inside + 6.0 * scan.state, dtype=float)


def state_bytes(scan: Scan, element_bytes: float = STATE_BYTES) -> Floats:
    """State read and written once [B]."""
    return np.asarray(2.0 * np.multiply(scan.batch, scan.state) * element_bytes, dtype=float)


def token_bytes(scan: Scan, activation_bytes: float) -> Floats:
    """Inputs read and outputs written [B]: queries, keys, values, out."""
    keys = {"mamba1": 1.0, "mamba2": scan.groups}.get(scan.kind, scan.heads)
    width = 2.0 * np.multiply(scan.heads, scan.head_dim) + 2.0 * np.multiply(keys, scan.state_dim)
    return np.asarray(np.multiply(scan.batch, scan.q) * width * activation_bytes, dtype=float)


def scan_s(scan: Scan, chip: AttentionRates) -> Floats:
    """Time of the recurrence of one layer [s].

    Notes
    -----
    A single token takes the recurrence, on the vector unit; more take the chunked form. Mamba-1
    has no matrix form and stays on the vector unit. Chunks of one sequence follow one another:
    each hand-over adds a fixed time, whatever the batch.
    """
    q = np.asarray(scan.q, dtype=float)
    vector = (q == 1.0) | (scan.kind == "mamba1")
    flop = np.where(q == 1.0, decode_flop(scan), prefill_flop(scan)) * np.multiply(scan.batch, q)
    # Cores are filled by (sequence, head); fewer of them leave cores idle.
    filled = np.minimum(np.multiply(scan.batch, scan.heads) / max(chip.cores, 1.0), 1.0)
    peak = chip.peak_flop_per_s * COMPUTE_EFFICIENCY * filled
    compute = flop / np.where(vector, peak * VECTOR_FLOP_PER_MATRIX, peak)
    moved = state_bytes(scan) + token_bytes(scan, chip.activation_bytes)
    memory = moved / (chip.bytes_per_s * MEMORY_EFFICIENCY)
    chunks = np.where(vector, 1.0, np.ceil(q / CHUNK[scan.kind]))
    steps = CHUNK_STEP_S * (chunks - 1.0)
    time: Floats = LAUNCH_S + steps + smooth_maximum(compute, memory)
    return time


def estimate(case: OpCase, chip: ChipSpec) -> Estimate:
    """Time of a `scan` case; its `kernel` names the recurrence, Mamba-2 where blank.

    Without `q_len` and `batch`, `m` token rows are `m` sequences of one token each.

    Raises
    ------
    InfeasibleError
        `heads` is blank or the recurrence is unknown.
    """
    case.needs("heads")
    kind = case.kernel or "mamba2"
    if kind not in KINDS:
        raise InfeasibleError(f"kernel {kind!r} of a scan is none of {', '.join(KINDS)}")
    words = ["no recurrence was measured at operator level: efficiencies are assumptions"]
    fresh = case.given("q_len", 1.0)
    batch = case.given("batch", max(case.given("m", 1.0) / fresh, 1.0))
    defaults = {
        "q_len": fresh,
        "batch": batch,
        "head_dim": case.given("head_dim", HEAD_DIM),
        "state_dim": case.given("state_dim", STATE_DIM),
    }
    words += [
        f"{name} {value:g}" for name, value in defaults.items() if math.isnan(getattr(case, name))
    ]
    words += [] if case.kernel else ["recurrence mamba2"]
    scan = Scan(
        kind=kind,
        batch=np.array([batch]),
        q=fresh,
        heads=case.heads,
        head_dim=defaults["head_dim"],
        state_dim=defaults["state_dim"],
    )
    found = rates(chip, case.dtype or "bf16", case.dtype)
    return Estimate(
        time_s=float(scan_s(scan, found)[0]),
        log_sd=SCAN_LOG_SD,
        model="scan law, assumed efficiencies 2026-11-25",
        assumptions=tuple(words),
    )
