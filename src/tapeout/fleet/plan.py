"""From capacity wanted to chips, quarter by quarter: vintages, ramps, lives and ceilings.

Quarterly arithmetic only. Capacity is in one unit for all options of a plan, either tokens per
second (demand is given) or watts (the site is given); the plan does not care which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.fleet.limits import Limit, Pool
from tapeout.numerics import Floats, Ints

Bools = NDArray[np.bool_]
_TINY = np.finfo(float).tiny
ROUNDING = 1e-12  # of the largest need; a shortfall below it is none


@dataclass(frozen=True, slots=True, kw_only=True)
class Supply:
    """One way to obtain capacity, as the fleet sees it.

    Attributes
    ----------
    key : str
        Name of the option.
    unit_per_chip : array, shape (draw or 1, quarter)
        Capacity of one chip of the first generation in use in that quarter, after availability,
        software maturity and any shift of the workload. [tokens/s or W]
    active : array of bool, shape (draw or 1, quarter)
        Whether new capacity of this kind may be taken in that quarter.
    life_quarters : array of int, shape (draw or 1,)
        Service life of a bought chip or term of a rented one.
    ramp_fraction : array, shape (draw or 1, quarter), or None
        Share of the need that this option has been ramped to; it is served first. None: the
        option fills what is left, in the order given.
    carried : mapping of name to array, shape (draw or 1, quarter)
        Quantities fixed when a vintage is taken (power or rent of its generation, relative to the
        first); the plan returns their sum over the chips alive.
    vintage_gain : array, shape (draw or 1, quarter)
        Capacity of a chip taken in that quarter over one of the first generation.
    ceiling_chips : array, shape (draw or 1, quarter), or None
        Most chips that can be had in a quarter.
    smallest_chips : float
        Smallest fleet that makes sense (one replica).
    sizing_unit_per_chip : array, shape (draw or 1, quarter), or None
        Capacity of a chip by which a ramped option is sized, where that is not what it gives at
        the time: a fleet is ordered for what its chips will give once mature. None: unit_per_chip.
    share_fraction : array, shape (draw or 1, quarter), or None
        Largest share of the need that an option without a ramp is filled to. None: no limit.
    """

    key: str
    unit_per_chip: Floats
    active: Bools
    life_quarters: Ints
    ramp_fraction: Floats | None = None
    carried: Mapping[str, Floats] = field(default_factory=dict)
    vintage_gain: Floats = field(default_factory=lambda: np.ones((1, 1)))
    ceiling_chips: Floats | None = None
    smallest_chips: float = 0.0
    share_fraction: Floats | None = None
    sizing_unit_per_chip: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """What is taken, what is there and what it does; one array (draw, quarter) per option.

    `chips` counts chips in service, `new_chips` those taken in the quarter and `expired_chips`
    those whose life ended as the quarter began. `capacity` and `used` are in the unit of the plan.
    `carried[option][name]` sums a vintage quantity over the chips in service. `unmet` has shape
    (draw, quarter).
    """

    options: tuple[str, ...]
    chips: Mapping[str, Floats]
    new_chips: Mapping[str, Floats]
    expired_chips: Mapping[str, Floats]
    capacity: Mapping[str, Floats]
    used: Mapping[str, Floats]
    carried: Mapping[str, Mapping[str, Floats]]
    unmet: Floats

    def busy_fraction(self, option: str) -> Floats:
        """Share of an option's capacity in use, zero where there is none."""
        # nothing is used where there is nothing: dividing by a tiny number then gives zero
        busy: Floats = self.used[option] / np.maximum(self.capacity[option], _TINY)
        return busy


class _Stock:
    """Chips of one option as the plan walks through the quarters.

    Arrays are (quarter, draw or 1) inside, so that one quarter is contiguous. Sums over vintages
    are kept by weight: chips themselves, and every quantity that a vintage fixes. Weights that are
    the same array, or one everywhere, share a sum.
    """

    def __init__(self, supply: Supply, shape: tuple[int, int], noise: Floats) -> None:
        self.quarters, self.draws = shape
        self.supply = supply
        self.noise = noise
        self.unit = self._by_quarter(supply.unit_per_chip)
        sizing = supply.sizing_unit_per_chip
        self.sizing = self.unit if sizing is None else self._by_quarter(sizing)
        self.active = self._by_quarter(supply.active)
        ramp, ceiling, share = supply.ramp_fraction, supply.ceiling_chips, supply.share_fraction
        self.ramp = None if ramp is None else self._by_quarter(ramp)
        self.ceiling = None if ceiling is None else self._by_quarter(ceiling)
        self.share = None if share is None else self._by_quarter(share)
        self.room: Floats | None = None  # chips that shared limits leave in this quarter
        self._weigh(supply)
        self.each = self.weights[self.gain] * self.sizing if self.gain else self.sizing
        earns = self.each > 0
        if not earns.all():  # what gives no capacity is never taken
            self.active = self.active & earns
            self.each = np.where(earns, self.each, 1.0)
        rows = self.active.sum(axis=1).tolist()
        self.open = [count > 0 for count in rows]
        self.whole = [count == self.active.shape[1] for count in rows]
        self._lives(supply.life_quarters)
        count = len(self.weights)
        # vintages by quarter taken, after as many empty rows as a life lasts: none is born before
        self.taken = np.empty((count, self.longest + self.quarters, self.draws))
        self.taken[:, self.shortest : self.longest] = 0.0
        self.expired = np.zeros(shape)
        self.sums = np.empty((count, *shape))
        self.now: Floats = np.zeros((count, self.draws))
        self.written = -1  # last quarter whose state is in the sums
        # a byte each, where that is enough, adds up eight times as fast
        few = self.quarters <= np.iinfo(np.int8).max
        self.vintages: NDArray[Any] = np.zeros(self.draws, dtype=np.int8 if few else np.int64)

    def _weigh(self, supply: Supply) -> None:
        """Distinct weights, the first one, and which of them each name and the capacity use."""
        self.weights: list[NDArray[Any]] = [np.ones((self.quarters, 1))]
        known: dict[int, int] = {}
        for values in (supply.vintage_gain, *supply.carried.values()):
            if id(values) in known:
                continue
            plain = values.shape[0] == 1 and bool((values == 1.0).all())
            known[id(values)] = 0 if plain else len(self.weights)
            if not plain:
                self.weights.append(self._by_quarter(values))
        self.gain = known[id(supply.vintage_gain)]
        self.names = {name: known[id(values)] for name, values in supply.carried.items()}

    def _lives(self, life: Ints) -> None:
        """Where the vintage that expires in a quarter lies; one row where all lives are equal."""
        life = np.minimum(life, self.quarters)  # what outlives the plan never expires in it
        self.longest, self.shortest = int(life.max()), int(life.min())
        self.even = self.longest == self.shortest
        if self.even:
            return
        rows = np.arange(self.draws)
        self.first_born = rows + (self.longest - np.broadcast_to(life, rows.shape)) * self.draws

    def _by_quarter(self, values: NDArray[Any]) -> NDArray[Any]:
        rows = np.ascontiguousarray(values.T)
        return np.broadcast_to(rows, (self.quarters, rows.shape[1]))

    def expire(self, quarter: int) -> None:
        """Retire the vintage whose life ended."""
        if quarter < self.shortest:
            return
        if self.even:
            gone = self.taken[:, quarter]  # the row that many quarters before
        else:
            place = self.first_born + quarter * self.draws
            gone = np.empty(self.now.shape)
            for kind, out in zip(self.taken, gone, strict=True):
                np.take(kind.reshape(-1), place, out=out, mode="clip")
        left: Bools = np.greater(gone[0], 0.0)
        if not np.count_nonzero(left):
            return
        self.expired[quarter] = gone[0]
        self.vintages -= left.view(np.int8)
        now = np.subtract(self.now, gone, out=self.sums[:, quarter])
        self.written = quarter
        np.maximum(now, 0.0, out=now)  # rounding may not leave a negative stock
        if np.count_nonzero(self.vintages) < self.draws:
            now *= self.vintages > 0  # without vintages what is left is rounding
        self.now = now

    def capacity(self, quarter: int) -> Floats:
        """Capacity of the chips in service, shape (draw,)."""
        capacity: Floats = self.now[self.gain] * self.unit[quarter]
        return capacity

    def ramp_up(self, quarter: int, wanted: Floats) -> None:
        """Top a ramped option up to its share of what is wanted, by the unit it is sized in."""
        assert self.ramp is not None
        lacking = self.ramp[quarter] * wanted
        lacking -= self.now[self.gain] * self.sizing[quarter]
        self.take(quarter, lacking)

    def take(self, quarter: int, shortfall: Floats) -> bool:
        """Take the chips that close a shortfall of capacity, where that is possible."""
        row = self.taken[:, self.longest + quarter]
        if not self.open[quarter]:
            row[:] = 0.0
            return False
        real: Bools = np.greater(shortfall, self.noise)
        if not self.whole[quarter]:
            real &= self.active[quarter]
        count = np.count_nonzero(real)
        if not count:
            row[:] = 0.0
            return False
        wanted = np.divide(shortfall, self.each[quarter], out=row[0])
        if count < self.draws:
            wanted *= real
        if self.supply.smallest_chips:
            least = self.supply.smallest_chips - self.now[0]
            np.multiply(np.maximum(wanted, least), real, out=wanted)
        if self._cap(quarter, wanted):
            real = np.greater(wanted, 0.0)
        self.vintages += real.view(np.int8)
        for kind, weight in enumerate(self.weights[1:], 1):
            np.multiply(wanted, weight[quarter], out=row[kind])
        self.now = np.add(self.now, row, out=self.sums[:, quarter])
        self.written = quarter
        return True

    def _cap(self, quarter: int, wanted: Floats) -> bool:
        """Hold chips wanted to the ceiling and to what is shared; whether there is either."""
        ceiling = None if self.ceiling is None else self.ceiling[quarter]
        limits = [most for most in (ceiling, self.room) if most is not None]
        for most in limits:
            np.minimum(wanted, most, out=wanted)
        return bool(limits)

    def fill(self, quarter: int, wanted: Floats, short: Floats) -> Floats:
        """Close what is short, up to the option's share of what is wanted; return what remains."""
        if self.share is None:
            if not self.open[quarter]:
                self.take(quarter, short)
                return short
            before = self.capacity(quarter)
            taken = self.take(quarter, short)
        else:
            before = self.capacity(quarter)
            open_to_it = np.minimum(short, self.share[quarter] * wanted - before)
            taken = self.take(quarter, open_to_it)
        return short - (self.capacity(quarter) - before) if taken else short

    def record(self, quarter: int) -> None:
        """Keep the state of the quarter, where nothing has changed it."""
        if self.written != quarter:
            self.sums[:, quarter] = self.now

    def weight(self, name: str, quarter: int) -> tuple[Floats, Floats]:
        """Of a quantity: what one chip taken now adds, and what all in service have."""
        kind = self.names[name] if name else 0
        return self.weights[kind][quarter], self.now[kind]

    @property
    def new(self) -> Floats:
        """Chips taken by quarter, (quarter, draw)."""
        return self.taken[0, self.longest :]


def plan(need: Floats, supplies: Sequence[Supply], limits: Sequence[Limit] = ()) -> FleetPlan:
    """Fill a need with options, in order.

    In every quarter expired vintages leave; options with a ramp are topped up to their share of
    the need; then the others, in the order given and each up to its share of the need, close what
    is still short. Capacity that is there stays there until its life or term ends, needed or not.

    Parameters
    ----------
    need : array, shape (draw, quarter)
        Capacity wanted, in the unit of the supplies.
    supplies : sequence of Supply
        Ramped options are served first.
    limits : sequence of Limit
        Amounts that options share; who is served first draws first.

    Returns
    -------
    FleetPlan
    """
    quarters = need.shape[1]
    wanted = np.ascontiguousarray(need.T)
    noise = ROUNDING * wanted.max(axis=0)
    stocks = [_Stock(supply, wanted.shape, noise) for supply in supplies]
    ramped = [stock for stock in stocks if stock.ramp is not None]
    filling = [stock for stock in stocks if stock.ramp is None]
    pools = [Pool(limit, wanted.shape) for limit in limits]
    for quarter in range(quarters):
        for stock in stocks:
            stock.expire(quarter)
        for pool in pools:
            pool.open(quarter, stocks)
        for stock in ramped:
            _make_room(stock, pools, quarter)
            stock.ramp_up(quarter, wanted[quarter])
            _draw(stock, pools, quarter)
        short = wanted[quarter] - stocks[0].capacity(quarter)
        for stock in stocks[1:]:
            short -= stock.capacity(quarter)
        for stock in filling:
            _make_room(stock, pools, quarter)
            short = stock.fill(quarter, wanted[quarter], short)
            _draw(stock, pools, quarter)
        for stock in stocks:
            stock.record(quarter)
    return _collect(need, ramped + filling, [supply.key for supply in supplies])


def _make_room(stock: _Stock, pools: Sequence[Pool], quarter: int) -> None:
    """Tell a stock how many chips the pools leave it."""
    rooms = [room for pool in pools if (room := pool.room(stock, quarter)) is not None]
    stock.room = np.min(rooms, axis=0) if rooms else None


def _draw(stock: _Stock, pools: Sequence[Pool], quarter: int) -> None:
    """Take what a stock has just taken off the pools."""
    for pool in pools:
        pool.draw(stock, quarter, stock.new[quarter])


def _collect(need: Floats, stocks: Sequence[_Stock], order: Sequence[str]) -> FleetPlan:
    """Put the stocks in the order of the options and share the use out, ramped options first."""
    left = need
    used: dict[str, Floats] = {}
    capacity: dict[str, Floats] = {}
    by_key = {stock.supply.key: stock for stock in stocks}
    for stock in stocks:
        key = stock.supply.key
        capacity[key] = (stock.sums[stock.gain] * stock.unit).T
        used[key] = np.minimum(capacity[key], left)
        left = left - used[key]
    by_name = {key: by_key[key] for key in order}
    return FleetPlan(
        options=tuple(order),
        chips={key: stock.sums[0].T for key, stock in by_name.items()},
        new_chips={key: stock.new.T for key, stock in by_name.items()},
        expired_chips={key: stock.expired.T for key, stock in by_name.items()},
        capacity={key: capacity[key] for key in order},
        used={key: used[key] for key in order},
        carried={
            key: {name: stock.sums[kind].T for name, kind in stock.names.items()}
            for key, stock in by_name.items()
        },
        unmet=left,  # never negative: no more is used than is left
    )


def peak_need(mean_rate: Floats, peak_to_mean: Floats, spares_fraction: Floats) -> Floats:
    """Capacity to hold for a mean rate: its peak, and spares on top.

    Parameters
    ----------
    mean_rate : array
        Mean over the day. [tokens/s]
    peak_to_mean, spares_fraction : array
        Broadcast against `mean_rate`.
    """
    return mean_rate * peak_to_mean * (1.0 + spares_fraction)


def utilisation_fraction(peak_to_mean: Floats, fill_fraction: Floats) -> Floats:
    """Mean use of a fleet sized for its peak.

    Batch work fills `fill_fraction` of the gap between the mean and the peak.

    Examples
    --------
    >>> float(utilisation_fraction(np.array(2.0), np.array(0.0)))
    0.5
    >>> float(utilisation_fraction(np.array(2.0), np.array(1.0)))
    1.0
    """
    return (1.0 + fill_fraction * (peak_to_mean - 1.0)) / peak_to_mean


def remaining_life_fraction(life_quarters: Ints, quarters: int) -> Floats:
    """Share of life left at the end of the horizon, by the quarter a chip was taken in.

    Returns
    -------
    array, shape (draw or 1, quarter)
    """
    life = np.asarray(life_quarters, dtype=np.float64)[:, None]
    end_of_life = np.arange(quarters)[None, :] + life
    return np.clip((end_of_life - quarters) / life, 0.0, 1.0)
