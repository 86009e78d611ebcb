"""Feed-forward parts: dense, and mixtures of experts with shared, latent and biased variants."""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.workload.drivers import TOKENS
from tapeout.workload.parts import ACTIVATION_BYTES, Matrix, Message, Row, Term, elementwise
from tapeout.workload.types import TensorFormats

ACTIVATION_FLOP = 8.0  # per element of a gated activation: 6-10
SHARED = "shared_"


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseFeedForward:
    """Two or three matrices: gate and up (fused) or up alone, then down."""

    inner: int
    gated: bool = True
    bias: bool = False
    name: str = "ffn_"
    message: Message = "reduce"

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Return up (with gate) and down."""
        return (
            Matrix(
                name=f"{self.name}{up_name(gated=self.gated)}",
                n=self.inner * (2 if self.gated else 1),
                k=hidden,
                bias=self.bias,
            ),
            Matrix(
                name=f"{self.name}down",
                n=hidden,
                k=self.inner,
                shard="row",
                bias=self.bias,
                message=self.message,
            ),
        )

    def small_elements(self, hidden: int) -> int:  # noqa: ARG002
        """Nothing beside the matrices."""
        return 0

    def rows(self, hidden: int, formats: TensorFormats) -> tuple[Row, ...]:  # noqa: ARG002
        """Return the activation function."""
        return (activation_row(f"{self.name}activation", self.inner, gated=self.gated),)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixtureOfExperts:
    """A router that sends each token to `top_k` of `experts` feed-forwards.

    Attributes
    ----------
    inner : int
        Inner width of one routed expert.
    shared_inner : int
        Inner width of all shared experts together; 0 without.
    latent : int, optional
        Width the experts act on, if narrower than the hidden state.
    latent_norm : bool
        A norm of the latent's width.
    routing_bias : bool
        One learned bias an expert.
    expert_bias : bool
        The experts' matrices carry biases.
    shared_gate : bool
        A gate of the hidden width on the shared experts.
    extra_elements : int
        Further small parameters of the router.
    """

    experts: int
    top_k: int
    inner: int
    gated: bool = True
    shared_inner: int = 0
    latent: int | None = None
    latent_norm: bool = False
    routing_bias: bool = False
    expert_bias: bool = False
    shared_gate: bool = False
    extra_elements: int = 0

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Return router, latent projections, experts and shared experts."""
        parts = [
            Matrix(name="router", n=self.experts, k=hidden, shard="replicated", tensor="small")
        ]
        if self.latent is not None:
            parts.append(Matrix(name="latent_down", n=self.latent, k=hidden, shard="replicated"))
        parts.extend(self._routed(self.latent or hidden))
        if self.latent is not None:
            parts.append(Matrix(name="latent_restore", n=hidden, k=self.latent, shard="replicated"))
        if self.shared_inner:
            parts.extend(self._shared.matrices(hidden))
        return tuple(parts)

    def _routed(self, width: int) -> tuple[Matrix, Matrix]:
        up = Matrix(
            name=f"expert_{up_name(gated=self.gated)}",
            n=self.inner * (2 if self.gated else 1),
            k=width,
            shard="expert",
            message="dispatch",
            tensor="expert",
            bias=self.expert_bias,
            copies=self.experts,
            used=self.top_k,
        )
        down = Matrix(
            name="expert_down",
            n=width,
            k=self.inner,
            shard="expert",
            message="combine",
            tensor="expert",
            bias=self.expert_bias,
            copies=self.experts,
            used=self.top_k,
        )
        return up, down

    @property
    def _shared(self) -> DenseFeedForward:
        # Its result is added to that of the routed experts, whose reduction serves both.
        return DenseFeedForward(
            inner=self.shared_inner, gated=self.gated, name=SHARED, message="none"
        )

    def small_elements(self, hidden: int) -> int:
        """Routing biases, gates and norms."""
        bias = self.experts if self.routing_bias else 0
        gate = hidden if self.shared_gate else 0
        norm = (self.latent or 0) if self.latent_norm else 0
        return bias + gate + norm + self.extra_elements

    def rows(self, hidden: int, formats: TensorFormats) -> tuple[Row, ...]:
        """Permutation to and from the experts, activation functions."""
        routed = activation_row(
            "expert_activation", self.inner, gated=self.gated, copies=self.top_k
        )
        shared = self._shared.rows(hidden, formats) if self.shared_inner else ()
        return permute_row(self.latent or hidden, self.top_k), routed, *shared


def up_name(*, gated: bool) -> str:
    """Name the first matrix of a feed-forward."""
    return "gate_up" if gated else "up"


def activation_row(name: str, inner: int, *, gated: bool, copies: int = 1) -> Row:
    """Read one or two halves, write one."""
    halves = 3 if gated else 2
    return elementwise(
        name,
        bytes_each=halves * inner * copies * ACTIVATION_BYTES,
        flop_each=ACTIVATION_FLOP * inner * copies,
    )


def permute_row(hidden: int, top_k: int) -> Row:
    """Move tokens to expert order and back: each way read and write."""
    moved = 4 * top_k * hidden * ACTIVATION_BYTES
    return Row(
        name="permute",
        kind="elementwise",
        dtype="bf16",
        shard="expert",
        m=Term(float(top_k), TOKENS),
        n=float(hidden),
        k=1.0,
        flop=Term(2.0 * top_k * hidden, TOKENS),
        activation=Term(moved, TOKENS),
    )
