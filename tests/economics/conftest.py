"""A small world with every kind of option, in round numbers, for hand calculation."""

from types import SimpleNamespace

import numpy as np
import pytest

from tapeout.economics.cashflow import strategy_cash_flow
from tapeout.economics.supply import Setting
from tapeout.economics.types import Inputs, SiliconOption, Step, Strategy

GLOBALS = {
    "decision.discount_rate": 0.10,
    "demand.peak_to_mean_ratio": 2.0,
    "demand.fill_fraction": 0.5,
    "demand.growth_per_year": 0.0,
    "demand.realised_ratio": 1.0,
    "fleet.spares_fraction": 0.25,
    "fleet.pooling_loss_fraction": 0.02,
    "site.capex_usd_per_w": 10.0,
    "site.life_years": 20.0,
    "site.idle_usd_per_w_year": 0.5,
    "site.pue_ratio": 1.25,
    "site.usd_per_kwh": 0.08,
    "site.idle_power_fraction": 0.4,
    "site.mean_power_fraction": 0.8,
    "operations.fraction_per_year": 0.05,
    "market.negotiated_discount_fraction": 0.2,
    "market.rent_drift_per_year": -0.1,
    "market.cloud_margin_fraction": 0.3,
    "market.server_cost_fraction": 0.6,
    "market.network_cost_fraction": 0.2,
    "rival.cadence_years": 2.0,
    "rival.tokens_per_usd_gain_ratio": 1.6,
    "rival.tokens_per_w_gain_ratio": 1.5,
    "software.port_maturity_years": 1.0,
    "value.usd_per_mtok": 3.0,
    "value.decline_per_year": 0.05,
}
BUY = {
    "tokens_per_s_per_chip": 1000.0,
    "timing_ratio": 1.0,
    "availability_fraction": 0.9,
    "it_w_per_chip": 1600.0,
    "life_years": 5.0,
    "failure_fraction_per_year": 0.02,
    "price_usd": 40_000.0,
    "die_usd": 2000.0,
    "memory_usd": 3000.0,
    "packaging_usd": 1000.0,
    "host_usd": 4000.0,
    "network_usd": 6000.0,
    "storage_usd": 1000.0,
    "rack_usd": 2000.0,
    "resale_fraction": 0.1,
    "generation_years": -0.5,
}
RENT = {
    "tokens_per_s_per_chip": 800.0,
    "timing_ratio": 1.0,
    "availability_fraction": 0.95,
    "it_w_per_chip": 1200.0,
    "rent_usd_per_chip_hour": 3.0,
    "port_usd": 2e6,
    "port_usd_per_year": 4e5,
    "port_start_fraction": 0.7,
    "life_years": 5.0,
    "minimum_usd_per_year": 2e7,
    "minimum_years": 3.0,
    "generation_years": -1.0,
}
OWN = {
    "tokens_per_s_per_chip": 900.0,
    "timing_ratio": 1.0,
    "delivered_ratio": 0.95,
    "availability_fraction": 0.9,
    "first_year_availability_fraction": 0.8,
    "maturity_start_fraction": 0.6,
    "maturity_years": 1.5,
    "shift_years": 1e6,
    "shift_ratio": 0.7,
    "it_w_per_chip": 800.0,
    "life_years": 4.0,
    "failure_fraction_per_year": 0.04,
    "die_usd": 2000.0,
    "memory_usd": 3000.0,
    "packaging_usd": 1000.0,
    "test_usd": 500.0,
    "partner_margin_fraction": 0.5,
    "memory_consigned_fraction": 0.0,
    "host_usd": 1500.0,
    "network_usd": 2500.0,
    "storage_usd": 500.0,
    "rack_usd": 1500.0,
    "resale_fraction": 0.05,
    "conversion_usd_per_w": 0.5,
    "nre_usd": 4e8,
    "nre_remaining_fraction": 0.8,
    "mask_set_usd": 3e7,
    "masks_remaining_fraction": 1.0,
    "respin_usd": 1e7,
    "bring_up_usd": 2e7,
    "software_usd_per_year": 5e7,
    "software_ramp_years": 0.5,
    "months_to_tapeout": 9.0,
    "slip_months": 0.0,
    "spins": 0.0,
    "spin_months": 5.0,
    "qualification_months": 9.0,
    "ramp_years": 1.0,
    "sales_window_years": 3.0,
    "cancelled": 0.0,
    "eligible_fraction": 0.8,
    "prepayment_fraction": 0.2,
    "committed_fraction": 0.6,
    "writeoff_fraction": 0.5,
    "rebate_lost_fraction": 0.03,
    "generation_cadence_years": 2.0,
    "generation_design_months": 16.0,
    "tokens_per_usd_gain_ratio": 1.5,
    "tokens_per_w_gain_ratio": 1.25,
    "reused_nre_fraction": 0.25,
    "slip_learning_fraction": 0.5,
}
API = {"usd_per_mtok": 4.0, "decline_per_year": 0.3}
KINDS = {"buy": BUY, "rent": RENT, "build": OWN, "api": API}
CERTAIN = {
    "demand.peak_to_mean_ratio": 1.0,
    "demand.fill_fraction": 0.0,
    "fleet.spares_fraction": 0.0,
    "rival.cadence_years": 100.0,
    "market.rent_drift_per_year": 0.0,
}


def option(key, kind, **more):
    return SiliconOption(key=key, kind=kind, silicon=key, title=key, **more)


OPTIONS = {
    "gpu": option("gpu", "buy"),
    "old": option("old", "buy", ceiling=True),
    "tpu": option("tpu", "rent", term_years=1.0),
    "trn": option("trn", "rent", term_years=3.0, minimum=True),
    "thin": option("thin", "rent", term_years=1.0, market_chips=500.0, price_impact=0.4),
    "api": option("api", "api"),
    "own": option("own", "build"),
}


def inputs(changes=None, ceiling=4000.0):
    """Every input of every option, with some replaced."""
    values = dict(GLOBALS)
    for key, one in OPTIONS.items():
        values |= {f"options.{key}.{name}": value for name, value in KINDS[one.kind].items()}
        if one.ceiling:
            values[f"options.{key}.ceiling_chips_per_quarter"] = ceiling
    unknown = set(changes or {}) - set(values)
    assert not unknown, unknown
    return Inputs({path: np.atleast_1d(v) for path, v in (values | (changes or {})).items()})


def setting(quarters=40, mean_tokens_per_s=1e6, site_w=None, options=None, **more):
    """A setting with flat demand; a site is flat, or stated by quarter."""
    return Setting(
        quarters=quarters,
        options=OPTIONS | (options or {}),
        demand_profile=np.full(quarters, float(mean_tokens_per_s)),
        site_w=None if site_w is None else np.broadcast_to(np.asarray(site_w, float), (quarters,)),
        **{"reference": "gpu", **more},
    )


def strategy(*steps):
    """Steps as option keys or Step objects."""
    made = tuple(step if isinstance(step, Step) else Step(option=step) for step in steps)
    return Strategy(key="s", title="s", steps=made)


BRIDGE = strategy(
    Step(option="tpu", end="own.mature"), "own", Step(option="gpu", start="own.mature")
)


def flow(steps, values=None, where=None, **how):
    """Cash flow and fleet of a strategy."""
    plan = steps if isinstance(steps, Strategy) else strategy(*steps)
    return strategy_cash_flow(where or setting(), plan, values or inputs(), **how)


def by_line(cash):
    """Payments of each line, shape (quarter,), of the first draw."""
    return {line.key: cash.usd[0, :, index] for index, line in enumerate(cash.lines)}


@pytest.fixture(scope="session")
def world():
    """Builders of inputs, settings, strategies and cash flows."""
    return SimpleNamespace(
        inputs=inputs,
        setting=setting,
        strategy=strategy,
        flow=flow,
        by_line=by_line,
        option=option,
        options=OPTIONS,
        bridge=BRIDGE,
        certain=CERTAIN,
    )
