"""Statistics of clients (ServeGen) and requests drawn from them.

Y. Xiang et al., "ServeGen: Workload Characterization and Generation of Large Language Model
Serving in Production", arXiv 2505.09999: traffic is the sum of clients, and few of them make most
of it. An aggregate process of the same rate loses their bursts, so every client is drawn apart.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.serving.traffic.arrivals import Gamma, Renewal, Weibull, operational_times
from tapeout.serving.traffic.generate import MOST_REQUESTS
from tapeout.serving.traffic.lengths import Histogram, histogram
from tapeout.serving.traffic.statistics import LengthStatistics
from tapeout.serving.traffic.streams import stream
from tapeout.serving.traffic.trace import Flags, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLengths:
    """Lengths of one client over the day.

    Attributes
    ----------
    starts_s : array, shape (period,)
        Where a period begins, ascending; the last goes on. [s]
    input_tokens, output_tokens : tuple of Histogram, shape (period,)
        Separate: the statistics do not say how input and output go together.
    """

    starts_s: Floats
    input_tokens: tuple[Histogram, ...]
    output_tokens: tuple[Histogram, ...]

    def period(self, time_s: Floats) -> Ints:
        """Period of each time; before the first one, the first."""
        found = np.searchsorted(self.starts_s, time_s, side="right") - 1
        return np.maximum(found, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientStatistics:
    """Rates and burstiness of clients by window, arrays of shape (window,), and their lengths.

    Attributes
    ----------
    client : array of int
        Number of the client.
    start_s : array
        Where the window begins, from midnight of the first day. [s]
    rate_rps : array
        [1/s]
    cv : array
        Of interarrival times, as the source gives it.
    is_gamma : array of bool
        Gamma, else Weibull.
    shape : array
        Of that family. The source's scale is not used: its mean does not fit the rate.
    window_s : float
        [s]
    lengths : mapping of client to ClientLengths
        Clients without an entry are given the pooled lengths of the others.
    source : str
    """

    client: Ints
    start_s: Floats
    rate_rps: Floats
    cv: Floats
    is_gamma: Flags
    shape: Floats
    window_s: float
    lengths: Mapping[int, ClientLengths]
    source: str

    @property
    def clients(self) -> Ints:
        """Numbers of the clients, ascending."""
        return np.unique(self.client)

    @property
    def begins_s(self) -> float:
        """Where the first window begins. [s]."""
        return float(self.start_s.min())

    @property
    def expected(self) -> Floats:
        """Mean requests of each window."""
        return self.rate_rps * self.window_s

    def loads(self) -> Floats:
        """Mean requests of each client, in the order of `clients`."""
        places = np.searchsorted(self.clients, self.client)
        return np.bincount(places, weights=self.expected).astype(np.float64)

    @property
    def unknown_fraction(self) -> float:
        """Share of the requests whose clients have no lengths."""
        known = np.isin(self.client, np.fromiter(self.lengths, dtype=np.int64))
        return float(self.expected[~known].sum() / self.expected.sum())

    def process(self, window: int) -> Renewal:
        """Gaps of a window, of mean 1."""
        shape = float(self.shape[window])
        return Gamma(shape) if self.is_gamma[window] else Weibull(shape)

    def key(self, window: int) -> tuple[int, int]:
        """Client and place in time of a window: what its random streams depend on."""
        return int(self.client[window]), max(int(self.start_s[window] // self.window_s), 0)

    def pooled(self) -> ClientLengths:
        """Lengths of all clients that have them, weighted by their requests in each period.

        Raises
        ------
        InfeasibleError
            No client has lengths.
        """
        if not self.lengths:
            raise InfeasibleError(f"{self.source}: no client has lengths; give the lengths file")
        starts = np.unique(np.concatenate([one.starts_s for one in self.lengths.values()]))
        inputs, outputs = [], []
        for period in range(starts.size):
            weights = self._weights(starts, period)
            inputs.append(_mixed([(one.input_tokens[at], w) for one, at, w in weights]))
            outputs.append(_mixed([(one.output_tokens[at], w) for one, at, w in weights]))
        return ClientLengths(
            starts_s=starts, input_tokens=tuple(inputs), output_tokens=tuple(outputs)
        )

    def _weights(self, starts: Floats, period: int) -> list[tuple[ClientLengths, int, float]]:
        """Lengths, their period and requests, of the clients in one period of the pool."""
        of_window = np.maximum(np.searchsorted(starts, self.start_s, side="right") - 1, 0)
        found = []
        for client, one in self.lengths.items():
            rows = (self.client == client) & (of_window == period)
            at = int(one.period(starts[period : period + 1])[0])
            found.append((one, at, float(self.expected[rows].sum())))
        if not any(weight for _, _, weight in found):
            return [(one, at, 1.0) for one, at, _ in found]
        return [item for item in found if item[2] > 0.0]

    def overall(self) -> tuple[Histogram, Histogram]:
        """Input and output tokens of all requests of clients with lengths."""
        pool, starts = self.pooled(), self.start_s
        known = np.isin(self.client, np.fromiter(self.lengths, dtype=np.int64))
        weights = np.bincount(
            pool.period(starts[known]),
            weights=self.expected[known],
            minlength=pool.starts_s.size,
        )
        mixed = [
            _mixed([(one, float(w)) for one, w in zip(side, weights, strict=True) if w > 0.0])
            for side in (pool.input_tokens, pool.output_tokens)
        ]
        return mixed[0], mixed[1]


def _mixed(parts: Sequence[tuple[Histogram, float]]) -> Histogram:
    """Mixture of histograms by weight."""
    return histogram(
        np.concatenate([one.values for one, _ in parts]),
        np.concatenate([one.probabilities * weight for one, weight in parts]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSummary:
    """Figures of client statistics, from the statistics themselves and not from a draw.

    `weighted_cv` weighs the CV of every client and window by its requests; percentiles of lengths
    are the smallest values that reach the level.
    """

    clients: int
    expected_requests: float
    mean_rate_rps: float
    peak_rate_rps: float
    weighted_cv: float
    top5_fraction: float
    unknown_fraction: float
    input_tokens: LengthStatistics
    output_tokens: LengthStatistics


def summary(stats: ClientStatistics) -> ClientSummary:
    """Figures of client statistics."""
    _, window = np.unique(stats.start_s, return_inverse=True)
    by_window = np.bincount(window, weights=stats.rate_rps)
    span_s = float(stats.start_s.max() - stats.begins_s + stats.window_s)
    loads = np.sort(stats.loads())[::-1]
    total = float(loads.sum())
    inputs, outputs = stats.overall()
    return ClientSummary(
        clients=int(stats.clients.size),
        expected_requests=total,
        mean_rate_rps=total / span_s,
        peak_rate_rps=float(by_window.max()),
        weighted_cv=float(stats.rate_rps @ stats.cv / stats.rate_rps.sum()),
        top5_fraction=float(loads[:5].sum()) / total,
        unknown_fraction=stats.unknown_fraction,
        input_tokens=_of_histogram(inputs, total),
        output_tokens=_of_histogram(outputs, total),
    )


def _of_histogram(one: Histogram, requests: float) -> LengthStatistics:
    places = np.searchsorted(one.cumulative, (0.5, 0.9, 0.99))
    p50, p90, p99 = (float(one.values[place]) for place in places)
    return LengthStatistics(
        mean=one.mean,
        p50=p50,
        p90=p90,
        p99=p99,
        max=float(one.values[-1]),
        total=round(one.mean * requests),
    )


def generate_clients(
    stats: ClientStatistics,
    seed: int,
    *,
    clients: Sequence[int] | None = None,
    window_s: tuple[float, float] | None = None,
    rate_factor: float = 1.0,
) -> Trace:
    """Draw the requests of clients.

    In every window a client is a stationary renewal process of the window's shape and of the mean
    1 / rate, so the mean count is rate times window whatever the CV. Windows are independent.

    Parameters
    ----------
    stats : ClientStatistics
    seed : int
        The requests of a window depend on it, on the client's number and on the time alone.
    clients : sequence of int, optional
        Which ones; all. The requests of a client do not depend on who else is drawn.
    window_s : (float, float), optional
        Part of the day, from the beginning of the statistics; windows that begin in it are drawn
        whole. [s]
    rate_factor : float
        More requests of the same shapes; the first ones have the same lengths.

    Returns
    -------
    Trace
        Times from the beginning of the first window drawn; equal times in order of the clients.

    Raises
    ------
    InfeasibleError
        An unknown client, no window left, or a rate factor that is not positive.
    """
    if not 0.0 < rate_factor < float("inf"):
        raise InfeasibleError(f"a rate factor of {rate_factor:g} is not positive")
    chosen = _chosen(stats, clients)
    low, high = (0.0, float("inf")) if window_s is None else window_s
    since_s = stats.start_s - stats.begins_s
    in_part = (since_s >= low) & (since_s < high)
    if not in_part.any():
        raise InfeasibleError(f"{stats.source}: no window begins between {low:g} and {high:g} s")
    origin_s = float(stats.start_s[in_part].min())
    expected = float(stats.expected[in_part & np.isin(stats.client, chosen)].sum()) * rate_factor
    if expected > MOST_REQUESTS:
        raise InfeasibleError(
            f"{expected:.3g} requests are too many; give fewer clients or less time"
        )
    parts = [
        _arrivals(stats, np.flatnonzero((stats.client == client) & in_part), seed, rate_factor)
        for client in chosen
    ]
    return _merged(stats, seed, chosen, parts, origin_s)


def _chosen(stats: ClientStatistics, clients: Sequence[int] | None) -> Ints:
    every = stats.clients
    if clients is None:
        return every
    chosen = np.unique(np.asarray(clients, dtype=np.int64))
    missing = np.setdiff1d(chosen, every)
    if missing.size or not chosen.size:
        named = ", ".join(str(one) for one in missing[:5]) or "none given"
        raise InfeasibleError(f"{stats.source}: no such client: {named}")
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """Times of one client, ascending, and how many of them each of its windows has."""

    time_s: Floats
    windows: Ints
    counts: list[int]


def _arrivals(stats: ClientStatistics, windows: Ints, seed: int, rate_factor: float) -> _Drawn:
    """Draw the windows of one client, each from a stream of its own."""
    parts = []
    for window in windows.tolist():
        rate_rps = float(stats.rate_rps[window]) * rate_factor
        rng = stream(seed, "servegen arrivals", *stats.key(window))
        times = operational_times(stats.process(window), rate_rps * stats.window_s, rng)
        times /= rate_rps
        times += stats.start_s[window]
        parts.append(times)
    return _Drawn(
        time_s=np.concatenate(parts) if parts else np.empty(0),
        windows=windows,
        counts=[part.size for part in parts],
    )


def _merged(
    stats: ClientStatistics, seed: int, chosen: Ints, parts: list[_Drawn], origin_s: float
) -> Trace:
    """Bring clients into one order, and draw their lengths straight into place.

    Only one array of the whole length besides the columns is held at a time.
    """
    sizes = [part.time_s.size for part in parts]
    total = sum(sizes)
    place = np.argsort(np.concatenate([part.time_s for part in parts]), kind="stable")
    back = np.empty(total, dtype=np.int64)
    back[place] = np.arange(total)
    del place
    arrival_s = np.empty(total)
    client_of = np.empty(total, dtype=np.int64)
    inputs, outputs = (np.empty(total, dtype=np.int64) for _ in range(2))
    pool, begin = None if not stats.unknown_fraction else stats.pooled(), 0
    for client, size in zip(chosen.tolist(), sizes, strict=True):
        where, part = back[begin : begin + size], parts.pop(0)
        begin += size
        lengths = stats.lengths.get(client, pool)
        assert lengths is not None
        arrival_s[where] = part.time_s - origin_s
        client_of[where] = client
        inputs[where], outputs[where] = _lengths(stats, lengths, part, seed)
    return Trace(
        arrival_s=arrival_s,
        input_tokens=inputs,
        output_tokens=outputs,
        client=client_of,
        source=f"{stats.source}, {len(chosen)} clients drawn with seed {seed}",
    )


def _lengths(
    stats: ClientStatistics, lengths: ClientLengths, part: _Drawn, seed: int
) -> tuple[Ints, Ints]:
    """Input and output tokens of one client."""
    inputs, outputs = (np.empty(part.time_s.size, dtype=np.int64) for _ in range(2))
    periods = lengths.period(stats.start_s[part.windows]).tolist()
    begin = 0
    for window, period, count in zip(part.windows.tolist(), periods, part.counts, strict=True):
        levels = stream(seed, "servegen lengths", *stats.key(window)).random((count, 2))
        where = slice(begin, begin + count)
        inputs[where] = lengths.input_tokens[period].at(levels[:, 0])
        outputs[where] = lengths.output_tokens[period].at(levels[:, 1])
        begin += count
    return inputs, outputs


def assign_shards(loads: Floats, shards: int) -> Ints:
    """Give clients to shards, the largest first, each to the shard with the least so far.

    Parameters
    ----------
    loads : array, shape (client,)
        Such as `ClientStatistics.loads()`.
    shards : int

    Returns
    -------
    array of int, shape (client,)
        Shard of each client. The largest shard is at most 4/3 of the best possible (R. L. Graham,
        "Bounds on multiprocessing timing anomalies", 1969).

    Raises
    ------
    InfeasibleError
        There is no shard.

    Examples
    --------
    >>> assign_shards(np.array([5.0, 4.0, 3.0, 2.0]), 2).tolist()
    [0, 1, 1, 0]
    """
    if shards < 1:
        raise InfeasibleError(f"{shards} shards hold nothing; give at least 1")
    heap = [(0.0, shard) for shard in range(shards)]
    found = np.zeros(loads.size, dtype=np.int64)
    for client in np.argsort(-loads, kind="stable"):
        load, shard = heap[0]
        found[client] = shard
        heapq.heapreplace(heap, (load + float(loads[client]), shard))
    return found
