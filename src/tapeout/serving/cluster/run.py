"""Run a trace through a cluster."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tapeout.constants import HOUR_S
from tapeout.numerics import Ints
from tapeout.serving.cluster import state as f
from tapeout.serving.cluster.checks import check_cluster
from tapeout.serving.cluster.state import Fleet
from tapeout.serving.cluster.types import Cluster, ClusterRun, Kind, ReplicaTable
from tapeout.serving.engine import state as s
from tapeout.serving.engine.arrays import Arrays, Watch, build
from tapeout.serving.engine.job import LONGEST_S, Job
from tapeout.serving.engine.outcome import outcome
from tapeout.serving.engine.types import PS_PER_S, Log

EVENTS = 4  # of a request, unless it is preempted or sent again


def run_cluster(
    job: Job,
    cluster: Cluster,
    *,
    client: Ints | None = None,
    samples_s: float = 0.0,
    log: bool = False,
    gaps_from_s: float | None = None,
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
    log : bool
        Keep the events of every request.
    gaps_from_s : float, optional
        Count the gaps between tokens that end from this time on; default: none. [s]

    Raises
    ------
    ProblemsError
        Nothing to send requests to, unlike block sizes, or settings out of bounds; all of them.
    """
    from tapeout.serving.cluster import _kernels as kernels  # noqa: PLC0415 - loads the compiler

    check_cluster(cluster)
    kinds = cluster.kinds
    kind = np.repeat(np.arange(len(kinds)), [one.replicas for one in kinds])
    rules, tables = [one.rules for one in kinds], [one.table for one in kinds]
    events = EVENTS * job.prompt.size + 2 if log else 0
    while True:
        watch = Watch(samples_s=samples_s, log_events=events, gaps_from_s=gaps_from_s, routed=True)
        held = build(job, rules, tables, kind, watch)
        if client is not None:
            held.core.r[s.CLIENT] = client
        fleet = _fleet(cluster, job, kind)
        kernels.run_cluster(*held, fleet)
        logged = int(held.record.counts[s.LOGGED])
        if not log or logged <= events:
            return _result(job, cluster, held, fleet, samples_s)
        events = logged  # preemptions and failures made more events than there was room for


def _ps(time_s: float) -> int:
    return round(time_s * PS_PER_S) if time_s < LONGEST_S else s.NEVER


def _fleet(cluster: Cluster, job: Job, kind: Ints) -> Fleet:
    settings = np.zeros(f.SETTINGS, np.int64)
    settings[f.ROUTER], settings[f.RANDOM_SEED] = int(cluster.router), cluster.seed
    settings[f.AGE] = _ps(cluster.information_age_s)
    settings[[f.SEEN_BEAT, f.KEPT, f.KEPT_LAST]] = -1
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
        hit = [one.replica]
        if one.replica < 0:
            hit = np.flatnonzero(kind == names.index(one.kind)).tolist()
        rows += [(_ps(one.at_s), place, _ps(one.until_s)) for place in hit]
    return np.array(sorted(rows), np.int64).reshape(-1, 3).T.copy()


def _result(job: Job, cluster: Cluster, held: Arrays, fleet: Fleet, samples_s: float) -> ClusterRun:
    g, rep = held.core.g, fleet.replica
    running = rep[f.STATUS] != f.OFF
    since = np.maximum(int(g[s.END].max(initial=0)) - rep[f.PAID_FROM], 0)
    paid_ps: Ints = rep[f.PAID] + np.where(running, since, 0)
    simulation = outcome(job, held, [one.table for one in cluster.kinds], samples_s, paid_ps)
    return ClusterRun(
        simulation=replace(simulation, log=_in_order(simulation.log)),
        replicas=ReplicaTable(
            kind=g[s.KIND],
            requests=g[s.FINISHED],
            busy_s=g[s.BUSY] / PS_PER_S,
            paid_s=paid_ps / PS_PER_S,
            starts=rep[f.STARTS],
            failures=rep[f.FAILURES],
        ),
        tries=held.core.r[s.TRIES],
    )


def _in_order(log: Log | None) -> Log | None:
    """Events in order of time: replicas that no other waits for run ahead of the rest."""
    if log is None:
        return None
    order = np.argsort(log.time_ps, kind="stable")
    return Log(
        kind=log.kind[order],
        time_ps=log.time_ps[order],
        request=log.request[order],
        value=log.value[order],
    )
