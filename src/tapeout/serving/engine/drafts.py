"""Which drafts are accepted: a counter-based stream, so that no draw depends on another."""

from __future__ import annotations

from tapeout.serving.engine.types import Rules

MASK = 2**64 - 1
STEP = 0x9E3779B97F4A7C15
REQUEST_STEP = 0xBF58476D1CE4E5B9
UNIT = 2.0**-53  # 53 random bits to [0, 1)


def accepted_drafts(request: int, sampled: int, drafts: int, rules: Rules) -> int:
    """How many leading drafts of a request are accepted in a step.

    Parameters
    ----------
    request : int
        Place in the trace.
    sampled : int
        Output tokens before the step.
    drafts : int
    rules : Rules
        Acceptance and seed.

    Notes
    -----
    SplitMix64 [1]_ from a counter made of seed, request and token.

    References
    ----------
    .. [1] G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators",
       OOPSLA 2014.
    """
    counter = rules.seed * STEP + request * REQUEST_STEP + sampled
    for draft in range(drafts):
        counter += STEP
        if (_mix(counter & MASK) >> 11) * UNIT >= rules.acceptance[draft]:
            return draft
    return drafts


def _mix(z: int) -> int:
    """SplitMix64 finaliser."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)
