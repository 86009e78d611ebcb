"""A traffic spec from the means of a class of requests."""

from __future__ import annotations

from tapeout.serving.traffic.spec import (
    ArrivalSection,
    ClientSection,
    LogNormalTokens,
    PrefixSection,
    TrafficSpec,
)
from tapeout.workload import Traffic

# Assumption: lengths vary as in the Azure conversation trace of 2023, whose inputs have a
# coefficient of variation of 0.96 and whose outputs have one of 0.77 (docs/traffic.md).
INPUT_CV = 0.96
OUTPUT_CV = 0.77


def spec_of_means(
    traffic: Traffic,
    rate_rps: float,
    duration_s: float,
    *,
    input_cv: float = INPUT_CV,
    output_cv: float = OUTPUT_CV,
) -> TrafficSpec:
    """Describe a class of requests of which only means are known.

    Parameters
    ----------
    traffic : Traffic
        Its cached share of the input becomes one prompt that all requests begin with; its ratio
        of peak to mean is not used.
    rate_rps, duration_s : float
        [1/s], [s]
    input_cv, output_cv : float
        Coefficients of variation of the lengths, an assumption.

    Returns
    -------
    TrafficSpec
        A Poisson process (an assumption) with lognormal lengths.
    """
    shared = round(traffic.input_tokens * traffic.cached_input_fraction)
    own = max(traffic.input_tokens - shared, 1.0)
    return TrafficSpec(
        duration_s=duration_s,
        clients=[
            ClientSection(
                name=traffic.name,
                arrivals=ArrivalSection(rate_rps=rate_rps),
                input=LogNormalTokens(kind="lognormal", mean=own, cv=input_cv),
                output=LogNormalTokens(
                    kind="lognormal", mean=max(traffic.output_tokens, 1.0), cv=output_cv
                ),
                prefix=PrefixSection(shared_tokens=shared) if shared else None,
            )
        ],
    )
