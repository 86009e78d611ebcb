"""The page of a search: points, fronts and the steady state between them."""

import pytest

from tapeout.errors import Outcome
from tapeout.report.search import search_chart
from tapeout.serving.search.deployments import Candidate
from tapeout.serving.search.max_load import MaxLoad
from tapeout.serving.search.prices import Price
from tapeout.serving.search.screen import Screened
from tapeout.serving.types import Deployment
from tests.conftest import make_placement

TRADE = ((0.005, 200.0, 1.0), (0.02, 4000.0, 0.2))


def candidate(*, simulated, usd=2.0):
    screened = Screened(
        outcome=Outcome.OK, rate_rps=30.0, output_tokens_per_s=3800.0, sequences=70.0,
        mean_tpot_s=0.019, tpot_s=0.02, ttft_s=0.1, joule_per_output_token=0.2, trade=TRADE,
    )  # fmt: skip
    run = MaxLoad(
        outcome=Outcome.OK, rate_rps=29.0, output_tokens_per_s_per_chip=1850.0,
        joule_per_output_token=0.21, mean_tpot_s=0.018, chips=2,
    )  # fmt: skip
    return Candidate(
        chip="plain",
        deployment=Deployment(placement=make_placement(tensor_parallel=2)),
        screened=screened,
        price=Price(usd_per_chip_hour=usd) if usd else None,
        simulated=run if simulated else None,
    )


def test_simulated_deployments_get_their_steady_state_as_a_line():
    chart = search_chart([candidate(simulated=True), candidate(simulated=False)])
    curves = [row for row in chart.spec["datasets"]["curves"] if row["panel"] == "per_chip"]
    assert [row["interactivity"] for row in curves] == pytest.approx([200.0, 50.0])
    assert [row["value"] for row in curves] == pytest.approx([100.0, 2000.0])  # of two chips
    dollars = [row for row in chart.spec["datasets"]["curves"] if row["panel"] == "per_usd"]
    assert dollars[-1]["value"] == pytest.approx(2000.0 * 3600.0 / 2.0)
    assert len(chart.spec["datasets"]["main"]) == 2 * 3


def test_without_a_price_there_is_no_panel_of_dollars():
    chart = search_chart([candidate(simulated=True, usd=0.0)])
    panels = {row["panel"] for name in ("main", "curves") for row in chart.spec["datasets"][name]}
    assert panels == {"per_chip", "per_joule"}
