"""Small clusters with simple step times for tests."""

from tapeout.serving.cluster.run import run_cluster
from tapeout.serving.cluster.types import Cluster, Kind, Router
from tests.serving.engine.builders import MS_PS, constant_table, make_job, make_rules

MS = 1e-3


def kind(rules, table=None, **changes):
    """Kind of replica; by default every step takes a millisecond."""
    return Kind(
        **{"name": "one", "rules": rules, "table": table or constant_table(rules)} | changes
    )


def cluster(rules, table=None, *, replicas=2, router=Router.ROUND_ROBIN, **changes):
    """Cluster of one kind."""
    return Cluster(
        **{"kinds": (kind(rules, table, replicas=replicas),), "router": router} | changes
    )


def single(**changes):
    """Rules of a server of one request at a time."""
    return make_rules(max_sequences=1, token_budget=4, kv_blocks=100_000, **changes)


def run(arrival_s, prompt, output, rules, how, *, client=None, samples_s=0.0, log=False, **more):
    """Run lists of requests."""
    job = make_job(arrival_s, prompt, output, rules, **more)
    return run_cluster(job, how, client=client, samples_s=samples_s, log=log)


__all__ = ["MS", "MS_PS", "cluster", "kind", "make_rules", "run", "single"]
