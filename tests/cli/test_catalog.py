"""`tapeout catalog` reads well at 80 columns and speaks JSON."""

import json

import pytest
from typer.testing import CliRunner

from tapeout.cli.catalog import app

runner = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"})
COMMANDS = [
    ["list"],
    ["list", "--kind", "driver"],
    ["list", "--kind", "market"],
    ["list", "--kind", "programme"],
    ["show", "gb300"],
    ["show", "gb300", "--rivals"],
    ["show", "nre_usd"],
    ["show", "process-3nm"],
    ["show", "Graphcore Bow"],
    ["sources"],
    ["conflicts"],
    ["stale"],
]


def _run(*arguments, status=0):
    result = runner.invoke(app, list(arguments))
    assert result.exit_code == status, result.output
    return result.output


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_tables_fit_80_columns(command):
    lines = _run(*command).splitlines()
    # the numbered list of sources is left unwrapped, so that an address can be clicked
    tables = [line for line in lines if not line[:5].strip().isdigit() and "http" not in line]
    assert lines
    assert max(len(line) for line in tables) <= 80
    assert not any("…" in line for line in lines)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_speaks_json(command):
    assert json.loads(_run(*command, "--json"))


def test_show_gives_value_range_status_date_and_source():
    text = _run("show", "jalapeno")
    assert "15.4 TB/s" in text
    assert "216 to 231.9 GB" in text
    assert "servethehome.com" in text
    assert "HBM4" in text


def test_show_lists_rivals_when_asked():
    assert "40,000 USD" not in _run("show", "b200")
    assert "40,000 USD" in _run("show", "b200", "--rivals")
    (figure,) = [
        one
        for one in json.loads(_run("show", "jalapeno", "--json"))["figures"]
        if one["path"] == "catalog.openai-jalapeno.hbm_stacks"
    ]
    assert [rival["value"] for rival in figure["rejected"]] == [8]


def test_an_overlay_shows_through(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        '[[figure]]\nentity = "h100"\nfield = "tdp"\nvalue = 650\nunit = "W"\n'
        'as_of = 2026-11-20\nwhy = "capped"\n'
    )
    assert "650 W" in _run("show", "h100", "--overlay", str(path))
    path.write_text("")
    assert "names nothing" in _run("show", "h100", "--overlay", str(path), status=2)


def test_an_unknown_name_is_answered_with_near_ones():
    assert "did you mean 'h100'" in _run("show", "h10O", status=2)


def test_a_bad_date_is_answered():
    assert "YYYY-MM-DD" in _run("stale", "--as-of", "soon", status=2)


def test_help_shows_examples():
    for command in ("list", "show", "sources", "conflicts", "stale"):
        assert f"tapeout catalog {command}" in _run(command, "--help")
