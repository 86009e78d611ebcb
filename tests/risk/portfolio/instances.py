"""Portfolios of made-up figures, the same for every test."""

import numpy as np

from tapeout.risk.portfolio import Capacity, Limit, PortfolioProblem, Spot

FALL = 0.92  # a year's discount


def portfolio(  # every figure has a default
    scenarios=60, *, seed=5, entry=(0.0, 0.0, 0.0, 0.0), pooling=0.0, limits=True, spot=True
):
    """Ten periods; own, bought, rented for three periods, rented by the period."""
    draw = np.random.default_rng(seed)
    periods, count = 10, 4
    shape = (scenarios, count, periods)
    discount = FALL ** np.arange(periods)
    demand = 100 * np.exp(np.cumsum(draw.normal(0.08, 0.15, (scenarios, periods)), axis=1))
    give = np.array([1.3, 1.0, 0.9, 0.8])[None, :, None]
    unit = give * np.exp(draw.normal(0, 0.12, shape))
    price = np.exp(np.cumsum(draw.normal(-0.05, 0.15, shape), axis=2))
    take = np.array([40.0, 30.0, 18.0, 12.0])[None, :, None] * price * discount
    run = np.array([1.0, 1.5, 2.5, 3.0])[None, :, None] * np.exp(draw.normal(0, 0.1, shape))
    spots = Spot(
        key="spot",
        usd=14 * np.exp(draw.normal(0, 0.4, (scenarios, periods))) * discount,
        depth=np.full((scenarios, periods), 40.0),
    )
    power = Limit(
        key="mw",
        kind="stock",
        use=np.repeat(np.array([[1.0], [1.4], [1.2], [1.2]]), periods, axis=1),
        most=np.linspace(110, 300, periods),
    )
    options = Capacity(
        keys=("own", "buy", "rent", "month"),
        silicon=("own", "gpu", "gpu", "tpu"),
        fixed_function=np.array([True, False, False, False]),
        unit=unit,
        gain=np.ones((1, count, periods)),
        life_periods=np.array([6, 5, 3, 1]),
        take_usd=take,
        run_usd=run * discount,
        open=np.ones((count, periods), bool),
        entry_usd=np.array(entry, float),
        installed=np.zeros((count, periods)),
        minimum=np.zeros((count, periods)),
        minimum_usd=np.zeros((count, periods)),
        serves_most=np.full((1, count, periods), np.inf),
    )
    return PortfolioProblem(
        weight=np.full(scenarios, 1 / scenarios),
        demand=demand,
        options=options,
        unserved_usd=60.0 * discount[None, :],
        spots=(spots,) if spot else (),
        limits=(power,) if limits else (),
        pooling_loss_fraction=pooling,
    )


def newsvendor_problem(demand, under_usd, over_usd):
    """One option for one period: owning avoids a premium, idling strands its capital."""
    count = demand.size
    one = np.ones((1, 1, 1))
    options = Capacity(
        keys=("own",),
        silicon=("own",),
        fixed_function=np.array([True]),
        unit=one,
        gain=one,
        life_periods=np.array([1]),
        take_usd=over_usd * one,
        run_usd=0.0 * one,
        open=np.ones((1, 1), bool),
        entry_usd=np.zeros(1),
        installed=np.zeros((1, 1)),
        minimum=np.zeros((1, 1)),
        minimum_usd=np.zeros((1, 1)),
        serves_most=np.full((1, 1, 1), np.inf),
    )
    return PortfolioProblem(
        weight=np.full(count, 1 / count),
        demand=demand[:, None],
        options=options,
        unserved_usd=np.full((1, 1), under_usd + over_usd),
    )
