"""Many replicas on the command line: figures by kind, failures, and every mistake at once."""

import json

import pytest
import typer
from typer.testing import CliRunner

from tapeout.cli.simulate import simulate

APP = typer.Typer()
APP.command()(simulate)

QUICK = (
    "--chip", "h100", "--model", "llama-3.1-8b", "--max-num-seqs", "16",
    "--max-num-batched-tokens", "1024", "--input", "100", "--output", "20", "--requests", "150",
    "--rate", "60", "--replicas", "3",
)  # fmt: skip


def run(*arguments):
    given = [str(one) for one in (*QUICK, *arguments)]
    return CliRunner().invoke(APP, given, env={"COLUMNS": "200"})


def content(*arguments):
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_router_gives_a_table_by_kind():
    done = run("--router", "least-outstanding", "--usd-per-chip-hour", "3")
    assert done.exit_code == 0, done.output
    for text in ("behind the router least-outstanding", "paid h", "USD/Mtok", "150 in all"):
        assert text in done.output, text


def test_without_a_router_there_is_no_cluster_and_round_robin_is_the_same_run():
    split, routed = content(), content("--router", "round-robin")
    assert split["cluster"] is None
    assert split["latency_s"] == routed["latency_s"]
    assert routed["cluster"]["tries"] == 150


def test_figures_of_kinds_add_up():
    got = content(
        "--router", "cost", "--slo", "ttft_p90=5,tpot_p90=0.5", "--usd-per-chip-hour", "9",
        "--also", "chip=mi300x,parallelism=tp1,replicas=2,usd_per_chip_hour=2,name=amd",
    )  # fmt: skip
    kinds = got["cluster"]["kinds"]
    assert [one["replicas"] for one in kinds] == [3, 2]
    assert sum(one["requests"] for one in kinds) == 150
    assert [one["name"] for one in kinds] == ["h100", "amd"]
    assert kinds[1]["requests"] == 150  # cheaper, and fast enough
    hours, rate = kinds[1]["paid_h"], kinds[1]["output_tokens_per_s"]
    end_s = hours / 2 * 3600
    assert abs(kinds[1]["usd_per_mtok"] / (2 * hours / (rate * end_s / 1e6)) - 1) < 1e-9
    assert kinds[0]["usd_per_mtok"] is None
    paid = 9 * kinds[0]["paid_h"] + 2 * hours  # idle replicas are paid too
    assert got["cluster"]["usd_per_mtok"] == pytest.approx(paid / (rate * end_s / 1e6))


def test_failures_are_shown_beside_a_run_without_them():
    limits = ("--slo", "e2e_p90=1")
    got = content("--fail", "at=1,until=60,replica=0", *limits)
    sound = content("--router", "round-robin", *limits)
    many = got["cluster"]
    assert many["kinds"][0]["failures"] == 1
    assert many["sent_again"] > 0
    without = many["slo_attainment_fraction_without_failures"]
    assert without == sound["slo_attainment_fraction"]["value"]
    assert got["slo_attainment_fraction"]["value"] < without
    shown = run("--fail", "at=1,until=60,kind=h100", *limits).output
    assert "without the failures" in shown


def test_what_a_run_does_not_show_of_a_failure_is_said():
    found = content("--fail", "at=1,until=600,replica=0", "--fail", "at=900,until=901,kind=h100")
    said = " ".join(found["warnings"])
    assert "The failure of replica 0 (1 to 600 s) outlasts the run" in said
    assert "The failure of all of h100 (900 to 901 s) comes after the last token" in said
    assert "outlasts" not in " ".join(content("--router", "round-robin")["warnings"])


def test_the_price_of_a_replica_is_refused_with_the_price_of_a_chip():
    assert "--usd-per-chip-hour now" in run("--usd-per-hour", "3").output
    done = run("--router", "prefix", "--also", "chip=mi300x,usd_per_hour=2")
    assert done.exit_code == 2
    assert "write usd_per_chip_hour" in done.output


def test_an_autoscaler_pays_for_less():
    got = content("--autoscale", "target=64,least=1", "--usd-per-chip-hour", "1")
    whole = content("--router", "round-robin", "--usd-per-chip-hour", "1")
    paid, all_of_it = (one["cluster"]["kinds"][0]["paid_h"] for one in (got, whole))
    assert paid < 0.5 * all_of_it


def test_admission_drops_what_finds_no_room():
    got = content("--admission", "most=1,retries=0")
    assert got["cluster"]["dropped"] == got["rejected"] > 0


def test_every_mistake_is_told_with_status_2():
    done = run(
        "--router", "best", "--autoscale", "least=x,goal=3", "--admission", "retries=1",
        "--fail", "at=5", "--fail", "at=1,until=2,replica=1,kind=a", "--also", "parallelism=tp1",
        "--also", "chip=nochip",
    )  # fmt: skip
    assert done.exit_code == 2
    assert "10 problems" in done.output
    for text in (
        "'best'", "best: is not known", "least=x: is not a whole number", "knows no 'goal'",
        "lacks target", "lacks most", "lacks until", "lacks chip", "is of nothing", "nochip",
    ):  # fmt: skip
        if text != "'best'":
            assert text in done.output, text


def test_mistakes_that_only_the_cluster_sees_end_in_status_2_too():
    done = run("--fail", "at=9,until=2,replica=7", "--autoscale", "target=1,least=9")
    assert done.exit_code == 2
    assert "3 problems" in done.output
    assert run("--router", "slo").exit_code == 2
    assert run("--router", "prefix", "--by-client").exit_code == 2


def test_what_is_not_routed_yet_is_refused():
    for others in (("--prefill-replicas", "1"), ("--max-load", "--slo", "ttft_p90=2")):
        done = run("--router", "prefix", *others)
        assert done.exit_code == 2, others
        assert "leave" in done.output
