"""A cluster: replicas of one or more kinds behind a router, and what happens to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from tapeout.errors import UnknownNameError
from tapeout.numerics import Floats, Ints
from tapeout.serving.engine.types import Rules, Simulation, StepTable


class Router(IntEnum):
    """How a replica is chosen for a request."""

    ROUND_ROBIN = 0
    RANDOM = 1
    LEAST_OUTSTANDING = 2  # requests sent and not ended, over the weight of the kind
    POWER_OF_TWO = 3  # the better of two random ones
    AFFINITY = 4  # the same replica for a client while it is up (rendezvous hashing)
    PREFIX = 5  # most prompt tokens in the cache less a price for load
    SLO = 6  # least loaded of those predicted to meet the limits, else the soonest first token
    COST = 7  # cheapest kind predicted to meet the limits, else as SLO


ROUTERS: Mapping[str, Router] = {one.name.lower().replace("_", "-"): one for one in Router}


def router_named(name: str) -> Router:
    """Router of a name as on the command line.

    Raises
    ------
    UnknownNameError

    Examples
    --------
    >>> router_named("power-of-two")
    <Router.POWER_OF_TWO: 3>
    """
    if name not in ROUTERS:
        raise UnknownNameError("router", name, ROUTERS)
    return ROUTERS[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Replicas that are alike.

    Attributes
    ----------
    name : str
    rules : Rules
    table : StepTable
    replicas : int
    chips : int
        Of one replica.
    weight : float
        Capacity beside other kinds: loads are divided by it.
    usd_per_hour : float
        Of one replica; the cost-aware router compares it per token of capacity.
    """

    name: str
    rules: Rules
    table: StepTable
    replicas: int = 1
    chips: int = 1
    weight: float = 1.0
    usd_per_hour: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A replica with this many requests refuses more; refused ones are sent again, then dropped.

    The wait before try n is `backoff_s` x 2^(n - 1).
    """

    most_outstanding: int
    retries: int = 0
    backoff_s: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoscaler:
    """Starts and stops replicas every `interval_s`, to `target` requests in each.

    A replica serves `startup_s` after it was ordered and is paid from the order to its stop.
    It is stopped, after what it has to serve, only where fewer have sufficed for `stable_s`.
    The first `least` replicas run from the beginning; the kinds are started in their order.
    """

    target: float
    least: int = 1
    interval_s: float = 15.0
    startup_s: float = 300.0
    stable_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Replicas that fail at a time and serve again at another; what they had starts over.

    `replica` is a place among all replicas, or -1 for all replicas of `kind` (a supplier).
    """

    at_s: float
    until_s: float
    replica: int = -1
    kind: str = ""

    @property
    def words(self) -> str:
        """Who fails and when, e.g. `replica 3 (600 to 1200 s)`."""
        who = f"all of {self.kind}" if self.replica < 0 else f"replica {self.replica}"
        return f"{who} ({self.at_s:g} to {self.until_s:g} s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Replicas and how requests reach them.

    Attributes
    ----------
    kinds : tuple of Kind
    router : Router
    information_age_s : float
        The router sees loads as of every whole so many seconds, and what it sent since; 0: now.
    load_tokens : float
        Price of one outstanding request in cached tokens, for the prefix-aware router.
    ttft_s, tpot_s : float
        Limits for the routers that predict.
    admission, autoscaler : optional
    failures : tuple of Failure
    detection_s : float
        From a failure until its requests are sent again; until then it still gets some.
    seed : int
        Of random choices.
    """

    kinds: tuple[Kind, ...]
    router: Router = Router.ROUND_ROBIN
    information_age_s: float = 0.0
    load_tokens: float = 512.0
    ttft_s: float = float("inf")
    tpot_s: float = float("inf")
    admission: Admission | None = None
    autoscaler: Autoscaler | None = None
    failures: tuple[Failure, ...] = ()
    detection_s: float = 5.0
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaTable:
    """What became of every replica, arrays of shape (replica,)."""

    kind: Ints
    requests: Ints  # finished there
    busy_s: Floats
    paid_s: Floats
    starts: Ints
    failures: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRun:
    """A run of a cluster; `tries` counts how often each request was sent, shape (request,)."""

    simulation: Simulation
    replicas: ReplicaTable
    tries: Ints
