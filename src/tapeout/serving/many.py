"""Many replicas behind a router: from what was asked to a run, and what became of each kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tapeout.constants import HOUR_S, MEGA
from tapeout.numerics import Ints
from tapeout.serving.cluster.checks import check_cluster
from tapeout.serving.cluster.run import run_cluster
from tapeout.serving.cluster.types import (
    Admission,
    Autoscaler,
    Cluster,
    ClusterRun,
    Failure,
    Kind,
    Router,
)
from tapeout.serving.engine.job import Front, Job, prepare
from tapeout.serving.engine.types import Rules, Simulation, StepTable
from tapeout.serving.metrics import Setting, summarise
from tapeout.serving.replicas import Task

if TYPE_CHECKING:
    from tapeout.serving.intervals import Estimate
    from tapeout.serving.objectives import Objective
    from tapeout.serving.traffic import Trace
    from tapeout.serving.types import Deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherKind:
    """Replicas of another chip beside those of the deployment."""

    name: str
    deployment: Deployment
    weight: float = 1.0
    usd_per_chip_hour: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How many replicas are run; `serving.cluster.types` explains each part.

    Attributes
    ----------
    name : str
        Of the kind of the deployment; blank: its chip's.
    usd_per_chip_hour : float
        Of one of its chips; 0: not known.
    others : tuple of OtherKind
    """

    name: str = ""
    router: Router = Router.ROUND_ROBIN
    information_age_s: float = 0.0
    admission: Admission | None = None
    autoscaler: Autoscaler | None = None
    failures: tuple[Failure, ...] = ()
    usd_per_chip_hour: float = 0.0
    others: tuple[OtherKind, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What the replicas of one kind did.

    Attributes
    ----------
    name : str
    replicas, requests, starts, failures : int
        Requests finished there, starts after orders, failures that hit.
    busy_fraction : float
        Of the time paid for; nan where there was none.
    paid_h : float
        Replica hours. [h]
    output_tokens_per_s : float
        Of requests that finished there, over the whole run. [token/s]
    paid_usd : float
        Price of the paid hours; nan without a price. [USD]
    output_tokens : int
    usd_per_mtok : float
        Price of the paid hours over a million of those tokens; nan without a price. [USD/Mtok]
    """

    name: str
    replicas: int
    requests: int
    busy_fraction: float
    paid_h: float
    output_tokens_per_s: float
    paid_usd: float
    output_tokens: int
    usd_per_mtok: float
    starts: int
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSummary:
    """What is said of a cluster beside the summary of its run.

    Attributes
    ----------
    router : str
    kinds : tuple of Served
    tries : int
        How often requests were sent, refused tries included.
    sent_again : int
        Requests that were sent more than once.
    dropped : int
        Requests that admission control refused for good.
    without_failures : Estimate or None
        Attainment of the same run without the failures; None where no failures or
        limits were asked for.
    failures : tuple of Failure
        As asked for.
    """

    router: str
    kinds: tuple[Served, ...]
    tries: int
    sent_again: int
    dropped: int
    without_failures: Estimate | None = None
    failures: tuple[Failure, ...] = ()

    @property
    def usd_per_mtok(self) -> float:
        """All paid hours, idle kinds included, over all output; nan unless every kind is priced."""
        tokens = sum(one.output_tokens for one in self.kinds)
        paid = sum(one.paid_usd for one in self.kinds)
        return paid / (tokens / MEGA) if tokens else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """In SI units, hours apart, ready for JSON."""
        without = self.without_failures
        return {
            "router": self.router,
            "usd_per_mtok": _known(self.usd_per_mtok),
            "tries": self.tries,
            "sent_again": self.sent_again,
            "dropped": self.dropped,
            "slo_attainment_fraction_without_failures": None
            if without is None
            else _known(without.value),
            "kinds": [
                {name: _known(getattr(one, name)) for name in Served.__slots__}
                for one in self.kinds
            ],
        }


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value


def build_cluster(
    asked: Asked, kinds: tuple[Kind, ...], objective: Objective, seed: int
) -> Cluster:
    """Cluster as it was asked for; the tightest limits of the objective are the router's."""

    def tightest(metric: str) -> float:
        found = [one.limit_s for one in objective.limits if one.metric == metric]
        return min(found, default=float("inf"))

    return Cluster(
        kinds=kinds,
        router=asked.router,
        information_age_s=asked.information_age_s,
        ttft_s=tightest("ttft"),
        tpot_s=tightest("tpot"),
        admission=asked.admission,
        autoscaler=asked.autoscaler,
        failures=asked.failures,
        seed=seed,
    )


def kind_of(
    name: str, rules: Rules, table: StepTable, deployment: Deployment, extra: tuple[float, float]
) -> Kind:
    """Kind of replica of a deployment; `extra` is its weight and a chip's price an hour."""
    return Kind(
        name=name,
        rules=rules,
        table=table,
        replicas=deployment.replicas,
        chips=deployment.placement.chips,
        weight=extra[0],
        usd_per_hour=extra[1] * deployment.placement.chips,
    )


def job_of(trace: Trace, kinds: tuple[Kind, ...], front: Front, in_flight: int) -> Job:
    """Job that every kind can take: what one of them cannot hold is rejected.

    Cache identities are those of the first kind with a prefix cache, if there is one.
    """
    jobs = [prepare(trace, one.rules, front=front, in_flight=in_flight) for one in kinds]
    chosen = next((job for job, one in zip(jobs, kinds, strict=True) if one.rules.prefix_cache), 0)
    base = chosen if isinstance(chosen, Job) else jobs[0]
    rejected = np.max([job.rejected for job in jobs], axis=0)
    return replace(base, rejected=rejected)


def served(run: ClusterRun, kinds: tuple[Kind, ...]) -> tuple[Served, ...]:
    """What each kind did."""
    requests, end_s = run.simulation.requests, run.simulation.totals.end_s
    table = run.replicas
    done = np.isfinite(requests.last_token_s)
    found = []
    for place, kind in enumerate(kinds):
        own = table.kind == place
        mine = done & own[requests.replica]
        tokens = int(requests.output_tokens[mine].sum())
        paid_s, busy_s = float(table.paid_s[own].sum()), float(table.busy_s[own].sum())
        usd = kind.usd_per_hour * paid_s / HOUR_S
        found.append(
            Served(
                name=kind.name,
                replicas=kind.replicas,
                requests=int(table.requests[own].sum()),
                busy_fraction=busy_s / paid_s if paid_s > 0.0 else float("nan"),
                paid_h=paid_s / HOUR_S,
                output_tokens_per_s=tokens / end_s if end_s > 0.0 else float("nan"),
                paid_usd=usd if kind.usd_per_hour > 0.0 else float("nan"),
                output_tokens=tokens,
                usd_per_mtok=usd / (tokens / MEGA) if usd > 0.0 and tokens else float("nan"),
                starts=int(table.starts[own].sum()),
                failures=int(table.failures[own].sum()),
            )
        )
    return tuple(found)


def cluster_summary(
    asked: Asked, run: ClusterRun, kinds: tuple[Kind, ...], job: Job, without: Estimate | None
) -> ClusterSummary:
    """Figures of a run of a cluster."""
    return ClusterSummary(
        router=asked.router.name.lower().replace("_", "-"),
        kinds=served(run, kinds),
        tries=int(run.tries.sum()),
        sent_again=int((run.tries > 1).sum()),
        dropped=int((run.simulation.requests.rejected.astype(bool) & (job.rejected == 0)).sum()),
        without_failures=without,
        failures=asked.failures,
    )


def clients(trace: Trace) -> Ints:
    """Client of every request; where the trace tells none apart a conversation is one."""
    if trace.client is not None and np.unique(trace.client).size > 1:
        return trace.client.astype(np.int64)
    if trace.parent is not None:
        from tapeout.serving.traffic.scaling import roots  # noqa: PLC0415 - only here

        found: Ints = roots(trace)
        return found
    return np.arange(trace.requests)


@dataclass(slots=True, kw_only=True)
class Many:
    """A run of a cluster, step by step."""

    asked: Asked
    cluster: Cluster
    job: Job
    task: Task
    client: Ints
    found: ClusterRun | None = None

    @classmethod
    def of(
        cls,
        asked: Asked,
        trace: Trace,
        task: Task,
        served_by: tuple[Deployment, Sequence[tuple[Rules, StepTable]]],
        objective: Objective,
    ) -> Many:
        """Prepare the kinds and the requests.

        Parameters
        ----------
        asked : Asked
        trace : Trace
        task : Task
            Rules and step table of the deployment.
        served_by : tuple
            The deployment, and rules and step tables of the other kinds.
        objective : Objective

        Raises
        ------
        ProblemsError
            Settings that no cluster has.
        """
        deployment, tables = served_by
        name = asked.name or deployment.placement.system.chip.name
        kinds = [kind_of(name, task.rules, task.table, deployment, (1.0, asked.usd_per_chip_hour))]
        for one, (rules, table) in zip(asked.others, tables, strict=True):
            extra = (one.weight, one.usd_per_chip_hour)
            kinds.append(kind_of(one.name, rules, table, one.deployment, extra))
        cluster = build_cluster(asked, tuple(kinds), objective, task.rules.seed)
        check_cluster(cluster)
        job = job_of(trace, tuple(kinds), task.front, task.in_flight)
        return cls(asked=asked, cluster=cluster, job=job, task=task, client=clients(trace))

    def _run(
        self,
        cluster: Cluster,
        samples_s: float,
        *,
        log: bool,
        gaps_from_s: float | None = None,
    ) -> ClusterRun:
        return run_cluster(
            self.job,
            cluster,
            client=self.client,
            samples_s=samples_s,
            log=log,
            gaps_from_s=gaps_from_s,
        )

    def run(self) -> Simulation:
        """Run it as asked."""
        task = self.task
        self.found = self._run(
            self.cluster, task.samples_s, log=task.log, gaps_from_s=task.gaps_from_s
        )
        return self.found.simulation

    def setting(self, setting: Setting) -> Setting:
        """With the chips and blocks of all kinds."""
        kinds = self.cluster.kinds
        blocks = [one.replicas * one.rules.kv_blocks * one.rules.ranks for one in kinds]
        kinds = self.cluster.kinds
        return replace(
            setting,
            slots=sum(k.rules.max_sequences * k.rules.ranks * k.replicas for k in kinds),
            chips=sum(one.replicas * one.chips for one in kinds),
            blocks=sum(blocks),
            replicas=sum(one.replicas for one in kinds),
        )

    def summary(self, setting: Setting) -> ClusterSummary:
        """Figures by kind; with failures also the attainment without them."""
        assert self.found is not None
        without = None
        if self.cluster.failures and setting.objective.limits:
            sound = self._run(replace(self.cluster, failures=()), 0.0, log=False)
            without = summarise(sound.simulation, setting).attainment
        return cluster_summary(self.asked, self.found, self.cluster.kinds, self.job, without)
