"""What is wrong with a cluster, all of it."""

from __future__ import annotations

from collections.abc import Iterator

from tapeout.errors import Problem, ProblemsError
from tapeout.serving.cluster.types import Admission, Autoscaler, Cluster, Failure
from tapeout.serving.engine.job import LONGEST_S

MOST_RETRIES = 20  # the wait doubles each time: a million times the first


def check_cluster(cluster: Cluster) -> None:
    """Refuse settings that no cluster has.

    Raises
    ------
    ProblemsError
        With every one of them.
    """
    problems = [*_kinds(cluster), *_router(cluster)]
    if cluster.admission:
        problems += _admission(cluster.admission)
    total = sum(one.replicas for one in cluster.kinds)
    if cluster.autoscaler:
        problems += _autoscaler(cluster.autoscaler, total)
    for one in cluster.failures:
        problems += _failure(one, cluster, total)
    if problems:
        raise ProblemsError("the cluster", problems)


def _problem(path: str, value: object, message: str, remedy: str) -> Problem:
    return Problem(path=path, value=str(value), message=message, remedy=remedy)


def _kinds(cluster: Cluster) -> Iterator[Problem]:
    if not cluster.kinds:
        yield _problem("kinds", "", "there is none", "name one kind of replica")
    for one in cluster.kinds:
        if one.replicas < 1:
            yield _problem(one.name, one.replicas, "replicas are too few", "have at least one")
        if not one.weight > 0.0:
            yield _problem(one.name, one.weight, "is no weight", "give one above 0")
        if not one.usd_per_hour >= 0.0:
            yield _problem(one.name, one.usd_per_hour, "is no price", "give 0 or more")
    sizes = {one.rules.block_tokens for one in cluster.kinds}
    if len(sizes) > 1:
        yield _problem("block_tokens", sorted(sizes), "differ between kinds", "give all kinds one")
    names = [one.name for one in cluster.kinds]
    for name in sorted({one for one in names if names.count(one) > 1}):
        yield _problem("kinds", name, "is the name of several", "give each its own name")


def _span(path: str, value: float, *, positive: bool = False) -> Iterator[Problem]:
    """A length of time that the clock can count."""
    low = value > 0.0 if positive else value >= 0.0
    if not (low and value < LONGEST_S):
        bound = "above 0" if positive else "0 or more"
        remedy = f"give {bound} and below {LONGEST_S:g} s"
        yield _problem(path, value, "is out of bounds", remedy)


def _router(cluster: Cluster) -> Iterator[Problem]:
    yield from _span("information_age_s", cluster.information_age_s)
    yield from _span("detection_s", cluster.detection_s)
    if not 0.0 <= cluster.load_tokens < float("inf"):
        yield _problem("load_tokens", cluster.load_tokens, "is out of bounds", "give 0 or more")
    for path, limit in (("ttft_s", cluster.ttft_s), ("tpot_s", cluster.tpot_s)):
        if not limit > 0.0:
            yield _problem(path, limit, "is no limit", "give one above 0")


def _admission(one: Admission) -> Iterator[Problem]:
    if one.most_outstanding < 1:
        yield _problem("admission most", one.most_outstanding, "lets nothing in", "give 1 or more")
    if not 0 <= one.retries <= MOST_RETRIES:
        remedy = f"give 0 to {MOST_RETRIES}; waits double"
        yield _problem("admission retries", one.retries, "is out of bounds", remedy)
    elif not 0.0 <= one.backoff_s * 2**one.retries < LONGEST_S:
        remedy = "give 0 or more, so that the last wait is one the clock counts"
        yield _problem("admission backoff_s", one.backoff_s, "is out of bounds", remedy)


def _autoscaler(one: Autoscaler, total: int) -> Iterator[Problem]:
    if not 0.0 < one.target < float("inf"):
        yield _problem("autoscale target", one.target, "is out of bounds", "give one above 0")
    if not 1 <= one.least <= total:
        yield _problem(
            "autoscale least", one.least, "is no count of replicas", f"keep 1 to {total}"
        )
    yield from _span("autoscale interval_s", one.interval_s, positive=True)
    yield from _span("autoscale startup_s", one.startup_s)
    yield from _span("autoscale stable_s", one.stable_s)


def _failure(one: Failure, cluster: Cluster, total: int) -> Iterator[Problem]:
    names = [kind.name for kind in cluster.kinds]
    if one.replica < 0 and one.kind not in names:
        remedy = f"name one of {', '.join(names)}, or a replica"
        yield _problem("failure kind", one.kind, "is not there", remedy)
    if one.replica >= total:
        remedy = f"name 0 to {total - 1}"
        yield _problem("failure replica", one.replica, "is not there", remedy)
    yield from _span("failure at", one.at_s)
    if not one.until_s > one.at_s:
        yield _problem("failure until", one.until_s, "is no end", f"give one after {one.at_s:g} s")
