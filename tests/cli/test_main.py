"""The command line as a process: exit codes, one clear message, nothing half-written."""

import subprocess
import sys

import pytest


def run(*arguments, cwd=None):
    command = [sys.executable, "-m", "tapeout", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("decide", "nowhere"),
        ("show", "nowhere"),
        ("catalog", "show", "jalapino"),
        ("perf", "h2000", "gpt-oss-120b"),
        ("decide", "nowhere", "--report", "page.pdf"),
        ("decide", "--draws", "99", "nowhere"),
        ("no-such-command",),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_two(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert done.stderr.strip() or done.stdout.strip()
    assert "Traceback" not in done.stderr


def test_new_writes_a_scenario_once(tmp_path):
    assert run("new", "mine", cwd=tmp_path).returncode == 0
    assert (tmp_path / "mine" / "scenario.toml").is_file()
    again = run("new", "mine", cwd=tmp_path)
    assert again.returncode == 2
    assert "exists already" in again.stderr


@pytest.mark.slow
def test_the_starter_decides_and_writes_its_page(tmp_path):
    run("new", "mine", cwd=tmp_path)
    reports = ("--report", "page.html", "--report", "cash.xlsx")
    done = run("decide", "mine", "--draws", "6", *reports, "--out", "out", "--quiet", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").stat().st_size < 3_000_000
    assert (tmp_path / "out" / "manifest.json").is_file()
    assert (tmp_path / "cash.xlsx").read_bytes()[:2] == b"PK"


def test_a_report_of_another_kind_is_refused_before_any_work(tmp_path):
    done = run("decide", "nowhere", "--report", "page.pdf", cwd=tmp_path)
    assert "neither a page nor a workbook" in done.stderr
