"""Estimates of attention cases from the shipped set-ups."""

from __future__ import annotations

import math

import numpy as np

from tapeout.chip import ChipSpec
from tapeout.perf.ops.attention_cases import (
    LAWS,
    Shapes,
    assumed,
    check,
    coordinates,
    kind_of,
    kv_dtype,
    rates,
    shapes,
)
from tapeout.perf.ops.attention_setups import (
    Choice,
    choose,
    shipped,
    transfer_log_sd,
)
from tapeout.perf.ops.cases import Estimate, OpCase
from tapeout.perf.ops.latent import latent_estimate

LATENT = ("mla_prefill", "mla_decode")


def estimate(case: OpCase, chip: ChipSpec) -> Estimate:
    """Time of one attention call, prefill, decode, mixed or latent.

    Parameters
    ----------
    case : OpCase
        Columns as in `tapeout.perf.ops.cases`; blanks take the defaults of
        `tapeout.perf.ops.attention_cases.DEFAULTS`, which the estimate lists.
    chip : ChipSpec

    Raises
    ------
    InfeasibleError
        A column without a default is blank.
    MissingFieldError
        The chip has no peak rate.
    """
    if case.op in LATENT:
        return latent_estimate(case, chip, shipped())
    kind = kind_of(case)
    check(case)
    choice = choose(case, kind, shipped())
    return Estimate(
        time_s=predict_s(case, chip, choice),
        log_sd=max(choice.log_sd, transfer_log_sd(choice.kind, choice.distance)),
        model=_model(choice),
        assumptions=tuple(filter(None, (*assumed(case), choice.assumption))),
    )


def predict_s(case: OpCase, chip: ChipSpec, choice: Choice) -> float:
    """Time of a case by a chosen set-up [s]."""
    parts = _parts(case, choice)
    law = LAWS[choice.kind].seconds
    found = rates(chip, kv_dtype(case), case.dtype)
    seconds = float(law(parts, found, choice.setup.constants)[0])
    if choice.smooth is not None:
        seconds *= math.exp(float(choice.smooth(coordinates(parts))[0]))
    return seconds


def _parts(case: OpCase, choice: Choice) -> Shapes:
    if choice.kind != "mixed" or case.op == "attention_mixed":
        return shapes([case], choice.kind)
    chunk = shapes([case], "prefill")[0]
    none = shapes([case], "decode")[0]
    zero = np.zeros(1)
    return chunk, type(none)(
        batch=zero,
        q=np.ones(1),
        c=zero,
        heads=none.heads,
        kv_heads=none.kv_heads,
        key_dim=none.key_dim,
        value_dim=none.value_dim,
        window=none.window,
    )


def _model(choice: Choice) -> str:
    setup = choice.setup
    words = f"attention {choice.kind} law {setup.stack} {setup.dtype} {setup.fitted}"
    return f"{words} + residual" if choice.smooth is not None else words
