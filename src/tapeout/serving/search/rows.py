"""Candidates of a search as columns of a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tapeout.serving.search.deployments import Candidate

NAN = float("nan")


def columns(candidates: Sequence[Candidate]) -> dict[str, list[Any]]:
    """Columns by name, one row a candidate; nan where there is nothing."""
    rows = [_row(one) for one in candidates]
    return {name: [row[name] for row in rows] for name in (rows[0] if rows else {})}


def _row(one: Candidate) -> dict[str, Any]:
    own, made, screened = one.deployment, one.simulated, one.screened
    steady = one.steady_per_chip
    return {
        "chip": one.chip,
        "deployment": one.words,
        "chips": one.chips,
        "policy": own.policy.name,
        "max_num_seqs": own.max_sequences,
        "max_num_batched_tokens": own.token_budget,
        "outcome": one.outcome.name,
        "simulated": made is not None,
        "steady_requests_per_s": screened.rate_rps,
        "steady_output_tokens_per_s_per_chip": steady,
        "requests_per_s": made.rate_rps if made else NAN,
        "half_width_95_requests_per_s": made.half_width_rps if made else NAN,
        "output_tokens_per_s_per_chip": made.output_tokens_per_s_per_chip if made else NAN,
        "gap_fraction": made.output_tokens_per_s_per_chip / steady - 1.0
        if made and steady
        else NAN,
        "binds": made.binds if made else "",
        "mean_tpot_s": one.mean_tpot_s,
        "joule_per_output_token": one.joule_per_output_token,
        "usd_per_chip_hour": one.price.usd_per_chip_hour if one.price else NAN,
        "price_source": one.price.words if one.price else "",
        "usd_per_million_output_tokens": one.usd_per_mtok,
        "simulated_requests": made.simulated_requests if made else 0,
        "interactivity_tokens_per_s": 1.0 / one.mean_tpot_s
        if math.isfinite(one.mean_tpot_s) and one.mean_tpot_s
        else NAN,
    }
