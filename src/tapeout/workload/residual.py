"""What takes the place of the plain residual stream: hyper-connections, attention over depth."""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.workload.parts import ACTIVATION_BYTES, Matrix, Row, elementwise
from tapeout.workload.types import TensorFormats


@dataclass(frozen=True, slots=True, kw_only=True)
class HyperConnections:
    """Several residual streams, mixed before and after each part of a layer (DeepSeek-V4).

    Each connection projects all streams to 2 n + n^2 coefficients, collapses them to the input of
    a part, and spreads its output over the mixed streams.
    """

    streams: int
    connections: int = 2  # before attention and before the feed-forward

    @property
    def _coefficients(self) -> int:
        return (2 + self.streams) * self.streams

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:
        """Return one projection a connection."""
        mix = Matrix(
            name="stream_weights",
            n=self._coefficients,
            k=self.streams * hidden,
            shard="replicated",
            tensor="small",
        )
        return (mix,) * self.connections

    def small_elements(self, hidden: int) -> int:  # noqa: ARG002
        """Biases and three scales a connection."""
        return self.connections * (self._coefficients + 3)

    def rows(self, hidden: int, formats: TensorFormats) -> tuple[Row, ...]:  # noqa: ARG002
        """Collapse reads the streams; mixing reads and writes them, with one input and output."""
        moved = (3 * self.streams + 2) * hidden * ACTIVATION_BYTES
        flop = 2.0 * hidden * (self.streams**2 + 2 * self.streams)
        return (elementwise("stream_mix", bytes_each=moved, flop_each=flop),) * self.connections


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthAttention:
    """Each part of a layer attends over the sums of earlier blocks of layers (Kimi K3).

    Attributes
    ----------
    candidates : float
        Blocks a layer chooses among, itself included.
    modules : int
        Parts of a layer that do so: the mixer and the feed-forward.
    """

    candidates: float
    modules: int = 2

    def matrices(self, hidden: int) -> tuple[Matrix, ...]:  # noqa: ARG002
        """Only vectors."""
        return ()

    def small_elements(self, hidden: int) -> int:
        """A norm and a query a module."""
        return self.modules * 2 * hidden

    def rows(self, hidden: int, formats: TensorFormats) -> tuple[Row, ...]:  # noqa: ARG002
        """Read every candidate, write their mean."""
        moved = (self.candidates + 1.0) * hidden * ACTIVATION_BYTES
        flop = 6.0 * self.candidates * hidden  # norm, score and weighted sum
        row = elementwise("depth_attention", bytes_each=moved, flop_each=flop)
        return (row,) * self.modules
