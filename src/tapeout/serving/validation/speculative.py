"""Steps that verify drafts, seen by laws that think in steps of one token.

A verify step of n sequences and k drafts works on n (k + 1) rows and reads n caches once; k draft
passes come before it. It yields `tokens_per_step` tokens, so a request of O tokens takes O / that
many steps (reference, serving section 2.5). At large batch it can lose, as it should.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tapeout.perf import Placement, StepCost, TimingModel
from tapeout.serving.steady import Lengths
from tapeout.serving.validation.inputs import Speculation
from tapeout.workload import StepMix


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyModel:
    """A timing model whose decode steps carry drafts.

    Attributes
    ----------
    base : TimingModel
    speculation : Speculation
    context_ratio : float
        Mean context of the request over that of `in_steps(lengths)`, whose output is shorter.
    """

    base: TimingModel
    speculation: Speculation
    context_ratio: float

    @property
    def name(self) -> str:
        """Name of the base with the drafts of a step."""
        return f"{self.base.name} + {self.speculation.drafts} drafts"

    def step_cost(self, placement: Placement, mix: StepMix) -> StepCost:
        """Time and energy of verify steps; prompts are as in the base model."""
        rows = 1.0 + self.speculation.drafts
        decoding = mix.decode_sequences
        cost = self.base.step_cost(
            placement,
            replace(
                mix,
                decode_sequences=decoding * rows,
                decode_kv_tokens=mix.decode_kv_tokens * self.context_ratio,
                sampled_sequences=mix.sampled_sequences + decoding * (rows - 1.0),
            ),
        )
        # Draft passes are small: a share of the plain step, charged where something decodes.
        passes = 1.0 + self.speculation.drafts * self.speculation.draft_share * (decoding > 0.0)
        return replace(
            cost,
            time_s=cost.time_s * passes,
            energy_j=cost.energy_j * passes,
            by_kind_s={kind: part * passes for kind, part in cost.by_kind_s.items()},
        )


def in_steps(lengths: Lengths, speculation: Speculation) -> Lengths:
    """Lengths with the output counted in steps."""
    return replace(lengths, output=max(1.0, lengths.output / speculation.tokens_per_step))


def verify_model(base: TimingModel, speculation: Speculation, lengths: Lengths) -> VerifyModel:
    """Timing model for requests of these lengths."""
    ratio = lengths.context / in_steps(lengths, speculation).context
    return VerifyModel(base=base, speculation=speculation, context_ratio=ratio)
