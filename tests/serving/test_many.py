"""From what is asked of many replicas to a job and a cluster."""

from dataclasses import replace

import numpy as np

from tapeout.serving.cluster.types import Cluster, Router
from tapeout.serving.engine.job import Front
from tapeout.serving.many import Asked, build_cluster, clients, job_of
from tapeout.serving.objectives import Objective, parse_objective
from tests.serving.cluster.builders import kind
from tests.serving.engine.builders import make_prefixes, make_rules, make_trace


def test_what_one_kind_cannot_hold_is_rejected_everywhere():
    small, large = make_rules(kv_blocks=5), make_rules(kv_blocks=50)
    trace = make_trace([0.0, 0.0, 0.0], [10, 30, 300], 2)
    kinds = (kind(large, name="a"), kind(small, name="b"))
    assert job_of(trace, kinds, Front(), 0).rejected.tolist() == [0, 1, 1]


def test_identities_are_there_if_any_kind_has_a_cache():
    plain, cached = make_rules(), make_rules(prefix_cache=True)
    trace = make_trace([0.0, 0.0], 8, 2, prefixes=make_prefixes([[0, 1], [0, 2]], 4))
    for rules in ((plain, cached), (cached, plain)):
        kinds = tuple(kind(one, name=str(place)) for place, one in enumerate(rules))
        assert job_of(trace, kinds, Front(), 0).ids.size == 4
    assert job_of(trace, (kind(plain),), Front(), 0).ids.size == 0


def test_the_router_predicts_against_the_tightest_limits():
    kinds = (kind(make_rules()),)
    asked = Asked(router=Router.SLO, information_age_s=2.0)
    objective = parse_objective("ttft_p90=2,ttft_p50=1,chat:tpot_p90=0.1,e2e_p90=9")
    assert build_cluster(asked, kinds, objective, 7) == Cluster(
        kinds=kinds, router=Router.SLO, information_age_s=2.0, ttft_s=1.0, tpot_s=0.1, seed=7
    )
    assert build_cluster(asked, kinds, Objective(), 7).ttft_s == float("inf")


def test_a_conversation_is_a_client_where_the_trace_has_none():
    trace = make_trace([0.0, 1.0, 2.0], 4, 2)
    assert clients(trace).tolist() == [0, 1, 2]
    talk = replace(trace, parent=np.array([-1, -1, 0]), think_s=np.zeros(3))
    assert clients(talk).tolist() == [0, 1, 0]
    assert clients(replace(talk, client=np.array([5, 5, 6]))).tolist() == [5, 5, 6]
    # one client for all, as drawn traffic has, tells nobody apart
    assert clients(replace(talk, client=np.array([5, 5, 5]))).tolist() == [0, 1, 0]
