"""Run a trace through a cluster."""

from __future__ import annotations

import numpy as np

from tapeout.constants import HOUR_S
from tapeout.errors import InfeasibleError
from tapeout.numerics import Floats, Ints
from tapeout.serving.cluster import state as f
from tapeout.serving.cluster.state import Fleet
from tapeout.serving.cluster.types import Cluster, ClusterRun, Kind, ReplicaTable
from tapeout.serving.engine import state as s
from tapeout.serving.engine.arrays import Arrays, Watch, build
from tapeout.serving.engine.job import Job
from tapeout.serving.engine.outcome import outcome
from tapeout.serving.engine.types import PS_PER_S


def run_cluster(
    job: Job, cluster: Cluster, *, client: Ints | None = None, samples_s: float = 0.0
) -> ClusterRun:
    """Run a job through a cluster.

    Parameters
    ----------
    job : Job
        Prepared with the rules of one kind; kinds share the block size. A request that the
        smallest kind cannot hold is rejected.
    cluster : Cluster
    client : array of int, shape (request,), optional
        For the router with affinity.
    samples_s : float
        Interval of the timeline; 0: none. [s]

    Raises
    ------
    InfeasibleError
        Nothing to send requests to, unlike block sizes, or a setting out of bounds.
    """
    from tapeout.serving.cluster import _kernels as kernels  # noqa: PLC0415 - loads the compiler

    _check(cluster)
    kinds = cluster.kinds
    kind = np.repeat(np.arange(len(kinds)), [one.replicas for one in kinds])
    watch = Watch(samples_s=samples_s, restarts=True)
    held = build(job, [one.rules for one in kinds], [one.table for one in kinds], kind, watch)
    if client is not None:
        held.core.r[s.CLIENT] = client
    fleet = _fleet(cluster, job, kind)
    kernels.run_cluster(*held, fleet)
    return _result(job, cluster, held, fleet, samples_s)


def _check(cluster: Cluster) -> None:
    if not cluster.kinds or min(one.replicas for one in cluster.kinds) < 1:
        raise InfeasibleError("a cluster needs a kind of replica, and one replica of each kind")
    if len({one.rules.block_tokens for one in cluster.kinds}) > 1:
        raise InfeasibleError("kinds have unlike block sizes; give them one")
    if min(one.weight for one in cluster.kinds) <= 0.0:
        raise InfeasibleError("the weight of a kind is above 0")
    scaler = cluster.autoscaler
    total = sum(one.replicas for one in cluster.kinds)
    if scaler and not (scaler.target > 0.0 and scaler.interval_s > 0.0):
        raise InfeasibleError("an autoscaler needs a target and an interval above 0")
    if scaler and not 1 <= scaler.least <= total:
        raise InfeasibleError(f"an autoscaler keeps 1 to {total} replicas, not {scaler.least}")


def _ps(time_s: float) -> int:
    return round(time_s * PS_PER_S) if time_s < 9e6 else s.NEVER


def _fleet(cluster: Cluster, job: Job, kind: Ints) -> Fleet:
    settings = np.zeros(f.SETTINGS, np.int64)
    settings[f.ROUTER], settings[f.RANDOM_SEED] = int(cluster.router), cluster.seed
    settings[f.AGE], settings[f.SEEN_BEAT] = _ps(cluster.information_age_s), -1
    settings[f.DETECTION] = max(_ps(cluster.detection_s), 1)
    settings[f.CAUSING] = int(job.in_flight > 0 or bool((job.parent >= 0).any()))
    if cluster.admission:
        settings[f.MOST] = cluster.admission.most_outstanding
        settings[f.RETRIES] = cluster.admission.retries
        settings[f.BACKOFF] = _ps(cluster.admission.backoff_s)
    replica = np.zeros((f.REPLICA_PLACES, kind.size), np.int64)
    replica[f.STATUS], replica[f.STARTS] = f.ON, 1
    scaler = cluster.autoscaler
    if scaler:
        settings[f.SCALED], settings[f.LEAST] = 1, scaler.least
        settings[f.INTERVAL], settings[f.STARTUP] = _ps(scaler.interval_s), _ps(scaler.startup_s)
        settings[f.STABLE] = _ps(scaler.stable_s)
        replica[f.STATUS, scaler.least :], replica[f.STARTS, scaler.least :] = f.OFF, 0
    return Fleet(
        settings=settings,
        real=np.array(
            [
                cluster.load_tokens,
                cluster.ttft_s * PS_PER_S,
                cluster.tpot_s * PS_PER_S,
                scaler.target if scaler else 1.0,
            ]
        ),
        replica=replica,
        kind=np.array([_rates(one) for one in cluster.kinds]).T.copy(),
        failures=_failures(cluster, kind),
    )


def _rates(kind: Kind) -> tuple[float, float, float]:
    """Weight, price of an output token at a full batch, picoseconds of a prompt token."""
    rules, table = kind.rules, kind.table
    budget, full = rules.token_budget, rules.max_sequences
    decode_ps = float(table.tokens_ps[min(full, budget)] + table.sampled_ps[full])
    decode_ps += float(table.decode_ps[full, 0]) + float(table.shared_ps[-1])
    usd_per_token = kind.usd_per_hour / HOUR_S * decode_ps / PS_PER_S / (full * rules.ranks)
    return kind.weight, usd_per_token, float(table.tokens_ps[budget]) / budget


def _failures(cluster: Cluster, kind: Ints) -> Ints:
    """Events of shape (3, event) in order of time: time, replica, when it is up again."""
    names = [one.name for one in cluster.kinds]
    rows: list[tuple[int, int, int]] = []
    for one in cluster.failures:
        if one.replica >= 0:
            hit = [one.replica]
        elif one.kind in names:
            hit = np.flatnonzero(kind == names.index(one.kind)).tolist()
        else:
            raise InfeasibleError(f"a failure names the kind {one.kind!r}, which is not there")
        if max(hit) >= kind.size or one.until_s < one.at_s or one.at_s < 0.0:
            raise InfeasibleError(
                f"a failure is of replica {max(hit)} of {kind.size}, or ends early"
            )
        rows += [(_ps(one.at_s), place, _ps(one.until_s)) for place in hit]
    return np.array(sorted(rows), np.int64).reshape(-1, 3).T.copy()


def _result(job: Job, cluster: Cluster, held: Arrays, fleet: Fleet, samples_s: float) -> ClusterRun:
    simulation = outcome(job, held, [one.table for one in cluster.kinds], samples_s)
    g, rep = held.core.g, fleet.replica
    end_ps = int(g[s.END].max(initial=0))
    running = rep[f.STATUS] != f.OFF
    paid: Floats = (rep[f.PAID] + np.where(running, end_ps - rep[f.PAID_FROM], 0)) / PS_PER_S
    return ClusterRun(
        simulation=simulation,
        replicas=ReplicaTable(
            kind=g[s.KIND],
            requests=g[s.FINISHED],
            busy_s=g[s.BUSY] / PS_PER_S,
            paid_s=np.maximum(paid, 0.0),
            starts=rep[f.STARTS],
            failures=rep[f.FAILURES],
        ),
        tries=held.core.r[s.TRIES],
    )
