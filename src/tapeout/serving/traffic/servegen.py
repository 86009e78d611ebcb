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
        A client's requests depend on it and on the client's number alone.
    clients : sequence of int, optional
        Which ones; all. The requests of a client do not depend on who else is drawn.
    window_s : (float, float), optional
        Part of the day, from the beginning of the statistics; windows that begin in it are drawn
        whole. [s]
    rate_factor : float
        More requests of the same shapes.

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
        _arrivals(
            stats, client, in_part, stream(seed, "servegen arrivals", int(client)), rate_factor
        )
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


def _arrivals(
    stats: ClientStatistics,
    client: int,
    in_part: Flags,
    rng: np.random.Generator,
    rate_factor: float,
) -> Floats:
    """Times of one client, ascending. [s]."""
    parts = []
    for window in np.flatnonzero((stats.client == client) & in_part):
        rate_rps = float(stats.rate_rps[window]) * rate_factor
        times = operational_times(stats.process(int(window)), rate_rps * stats.window_s, rng)
        times /= rate_rps
        times += stats.start_s[window]
        parts.append(times)
    return np.concatenate(parts) if parts else np.empty(0)


def _merged(
    stats: ClientStatistics, seed: int, chosen: Ints, parts: list[Floats], origin_s: float
) -> Trace:
    """Bring clients into one order, and draw their lengths straight into place.

    Only one array of the whole length besides the columns is held at a time.
    """
    sizes = [part.size for part in parts]
    total = sum(sizes)
    place = np.argsort(np.concatenate(parts) if parts else np.empty(0), kind="stable")
    back = np.empty(total, dtype=np.int64)
    back[place] = np.arange(total)
    del place
    arrival_s = np.empty(total)
    client_of = np.empty(total, dtype=np.int64)
    inputs, outputs = (np.empty(total, dtype=np.int64) for _ in range(2))
    pool, begin = None if not stats.unknown_fraction else stats.pooled(), 0
    for client, size in zip(chosen.tolist(), sizes, strict=True):
        where, times = back[begin : begin + size], parts.pop(0)
        begin += size
        lengths = stats.lengths.get(client, pool)
        assert lengths is not None
        arrival_s[where] = times - origin_s
        client_of[where] = client
        inputs[where] = _lengths(
            lengths.input_tokens, lengths, times, stream(seed, "servegen input", client)
        )
        outputs[where] = _lengths(
            lengths.output_tokens, lengths, times, stream(seed, "servegen output", client)
        )
    return Trace(
        arrival_s=arrival_s,
        input_tokens=inputs,
        output_tokens=outputs,
        client=client_of,
        source=f"{stats.source}, {len(chosen)} clients drawn with seed {seed}",
    )


def _lengths(
    side: tuple[Histogram, ...], lengths: ClientLengths, times: Floats, rng: np.random.Generator
) -> Ints:
    """Token counts of one client, by period."""
    levels = rng.random(times.size)
    found = np.empty(times.size, dtype=np.int64)
    ends = np.searchsorted(times, lengths.starts_s[1:])
    begin = 0
    for one, end in zip(side, [*ends.tolist(), times.size], strict=True):
        found[begin:end] = one.at(levels[begin:end])
        begin = end
    return found


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
