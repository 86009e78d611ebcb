"""The portability tax: what serving on another platform costs beyond the price of its chips.

Engineering to port and to keep up, throughput lost until the stack is mature, and what of both is
left as public software catches up. With no engineering and a mature stack the tax is zero and
chips compete on price alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.constants import HOUR_S, MONTHS_PER_YEAR, MTOK
from tapeout.economics.schedule import maturity_fraction
from tapeout.errors import Problem as Wrong
from tapeout.errors import ProblemsError

STEPS_PER_YEAR = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """Moving from one platform to another.

    Attributes
    ----------
    source, target : str
        Platforms, for people.
    engineering_usd : float
        Paid at the start. [USD]
    upkeep_usd_per_year : float
        Kernels, formats and tests kept current. [USD/year]
    start_fraction : float
        Throughput on day one over a mature stack, by `derate_fraction`.
    months_to_mature : float
        Until the gap is closed, linearly.
    """

    source: str
    target: str
    engineering_usd: float
    upkeep_usd_per_year: float
    start_fraction: float
    months_to_mature: float

    def __post_init__(self) -> None:
        wrong = [
            Wrong(path=f"port.{name}", value=f"{value:g}", message="out of range", remedy=remedy)
            for name, value, fits, remedy in (
                ("start_fraction", self.start_fraction, 0.0 < self.start_fraction <= 1.0,
                 "above 0, at most 1"),
                ("months_to_mature", self.months_to_mature, self.months_to_mature >= 0.0,
                 "0 or more"),
                ("engineering_usd", self.engineering_usd, self.engineering_usd >= 0.0,
                 "0 or more"),
                ("upkeep_usd_per_year", self.upkeep_usd_per_year, self.upkeep_usd_per_year >= 0.0,
                 "0 or more"),
            )
            if not fits
        ]  # fmt: skip
        if wrong:
            raise ProblemsError(f"port from {self.source} to {self.target}", wrong)


@dataclass(frozen=True, slots=True, kw_only=True)
class PortabilityTax:
    """Present values over the span judged. [USD].

    Attributes
    ----------
    spend_usd : float
        Chips on a mature stack.
    engineering_usd, derate_usd : float
        Port and upkeep; chips that make up for immature software.
    """

    spend_usd: float
    engineering_usd: float
    derate_usd: float

    @property
    def fraction(self) -> float:
        """Tax over what the chips cost on a mature stack."""
        return (self.engineering_usd + self.derate_usd) / self.spend_usd


def derate_fraction(
    measured_per_s: float, ceiling_per_s: float, *, home_measured: float, home_ceiling: float
) -> float:
    """Software's share of its ceiling on a platform, over the same on the platform left behind.

    All four are throughputs per chip of the same model, precision, limits and date. The ceiling
    is what the calibrated timing model gives the chip, so that neither rent nor a stronger chip
    is counted as software. May exceed one.

    Examples
    --------
    >>> derate_fraction(450.0, 1500.0, home_measured=600.0, home_ceiling=1000.0)
    0.5
    """
    return (measured_per_s / ceiling_per_s) / (home_measured / home_ceiling)


def throughput_ratio(cost_ratio: float, price_ratio: float) -> float:
    """Throughput per chip over the home platform's behind a published ratio of $/Mtok.

    Takes the rental price out of an outcome: cost a token is price over throughput.

    Parameters
    ----------
    cost_ratio, price_ratio : float
        Target over home, of the cost of a token and of a chip-hour.
    """
    return price_ratio / cost_ratio


def usd_per_mtok(usd_per_chip_hour: float, tokens_per_s_per_chip: float) -> float:
    """Cost of a million of the tokens counted, at full use. [USD/M tokens].

    Examples
    --------
    >>> round(usd_per_mtok(2.70, 885.673), 2)
    0.85
    """
    return usd_per_chip_hour / HOUR_S / tokens_per_s_per_chip * MTOK


def eroded(start_fraction: float, years: float, halving_years: float) -> float:
    """Day-one throughput of a port begun later: the gap halves as public software catches up.

    The moat is the gap of a platform without the leader's software. An infinite halving time keeps
    it. No halving time is published; the one given is an assumption, to be varied.

    Examples
    --------
    >>> eroded(0.6, 2.0, 2.0)
    0.8
    """
    left: float = 0.5 ** (years / halving_years)
    return 1.0 - (1.0 - start_fraction) * left


def portability_tax(
    port: Port, spend_usd_per_year: float, years: float, discount_rate: float
) -> PortabilityTax:
    """Tax on serving a steady demand on the target platform.

    Parameters
    ----------
    port : Port
    spend_usd_per_year : float
        On chips of the target, were its stack mature. [USD/year]
    years : float
        Span judged.
    discount_rate : float
        [1/year]

    Notes
    -----
    Chips are rented by the month, as many as the demand needs: at maturity m, 1/m of those that a
    mature stack needs. Flows fall in the middle of a month.
    """
    months = max(round(years * STEPS_PER_YEAR), 1)
    time = (np.arange(months) + 0.5) / STEPS_PER_YEAR
    weight = (1.0 + discount_rate) ** -time / STEPS_PER_YEAR
    mature = maturity_fraction(
        np.array(port.start_fraction), np.array(port.months_to_mature / MONTHS_PER_YEAR), time
    )
    return PortabilityTax(
        spend_usd=float(spend_usd_per_year * weight.sum()),
        engineering_usd=port.engineering_usd + port.upkeep_usd_per_year * float(weight.sum()),
        derate_usd=float(spend_usd_per_year * (weight * (1.0 / mature - 1.0)).sum()),
    )


def break_even_ratio(
    port: Port, home_usd_per_year: float, years: float, discount_rate: float
) -> float:
    """Price of a mature token there over one here at which moving just pays; zero if never.

    Parameters
    ----------
    home_usd_per_year : float
        Spent on the platform to be left. [USD/year]
    """
    tax = portability_tax(port, home_usd_per_year, years, discount_rate)
    left = 1.0 - tax.engineering_usd / tax.spend_usd
    return max(left / (1.0 + tax.derate_usd / tax.spend_usd), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A published cost of a token, to compare with; never an input."""

    platform: str
    usd_per_mtok: float
    over_h100_ratio: float
    who: str
    what: str
    as_of: str
    source_url: str


_BENCHMARK = "https://zamantika.com/profile/manubot"  # mirror of the benchmark's own post
_RECIPE = (
    "https://github.com/AI-Hypercomputer/tpu-recipes/blob/b709d73/"
    "inference/trillium/vLLM/Llama3.x/README.md"
)
H100_USD_PER_MTOK = 1.06
OUTCOMES: tuple[Outcome, ...] = (
    *(
        Outcome(
            platform=platform,
            usd_per_mtok=usd,
            over_h100_ratio=usd / H100_USD_PER_MTOK,
            who="renter, public vLLM (Artificial Analysis)",
            what="Llama 3.3 70B, input and output tokens, 30 output tokens/s a query, list rents",
            as_of="2025-10",
            source_url=_BENCHMARK,
        )
        for platform, usd in (
            ("NVIDIA H100", H100_USD_PER_MTOK), ("AMD MI300X", 2.24), ("Google TPU v6e", 5.13),
        )
    ),
    Outcome(
        platform="Google TPU v6e",
        usd_per_mtok=usd_per_mtok(2.70, 885.673),
        over_h100_ratio=usd_per_mtok(2.70, 885.673) / H100_USD_PER_MTOK,
        who="owner's recipe (Google), our arithmetic at the same 2.70 USD/chip-hour",
        what="Llama 3.3 70B, bf16, 8 chips, 1,000 in and out, 128 in flight: 443 output and 886"
        " tokens/s a chip at 28 tokens/s a query",
        as_of="2025-12-10",
        source_url=_RECIPE,
    ),
)  # fmt: skip
