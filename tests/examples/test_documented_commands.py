"""Commands of the documents that are marked `<!-- run -->` run as printed, from the repository."""

import re
import runpy
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapeout.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("simulate", "search", "traffic", "export", "fit")
SAMPLES = ROOT / "examples" / "traffic"
MARK = re.compile(r"<!-- run -->\n\n((?:    .*\n)+)")
PRINTED = re.compile(r"```text\n(.*?)```", re.DOTALL)


def commands(page):
    """Commands of the marked blocks of a page, in order."""
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    lines = "".join(MARK.findall(text)).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip()]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with the examples in it, where a command may write."""
    shutil.copytree(SAMPLES, tmp_path / "examples" / "traffic")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line):
    words = shlex.split(line)
    assert words[0] == "tapeout"
    done = CliRunner().invoke(app, words[1:], env={"COLUMNS": "100"})
    assert done.exit_code == 0, f"{line}\n{done.output}\n{done.exception}"
    return done.output


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("page", PAGES)
def test_every_marked_command_runs_as_printed(page):
    found = commands(page)
    assert len(found) >= 2
    for line in found:
        run(line)


def test_no_page_names_a_trace_or_log_that_is_not_there():
    for path in [ROOT / "docs" / f"{page}.md" for page in PAGES]:
        for line in path.read_text("utf-8").splitlines():
            if line.startswith("    tapeout "):
                assert not re.search(r"(?<![\w/])(trace|log)\.(csv|jsonl)", line), line


@pytest.mark.usefixtures("checkout")
def test_the_printed_answer_of_a_search_has_the_lines_that_a_search_prints():
    """Figures move with the engine; what the lines are does not."""
    line = next(one for one in commands("search") if one.startswith("tapeout search"))
    (printed,) = PRINTED.findall((ROOT / "docs" / "search.md").read_text("utf-8"))
    assert starts(printed) == starts(run(line))


def starts(text):
    """First words of every line, without figures."""
    lines = [re.findall(r"[A-Za-z]+", line)[:2] for line in text.splitlines()]
    return [words for words in lines if words]


def test_the_sample_trace_is_what_its_spec_draws(checkout):
    run("tapeout traffic generate examples/traffic/chat.toml --out again.csv --seed 7")
    assert (checkout / "again.csv").read_bytes() == (SAMPLES / "chat.csv").read_bytes()


def test_the_sample_log_says_that_it_is_synthetic():
    header, *rows = (SAMPLES / "log.csv").read_text("utf-8").splitlines()
    assert header.split(",")[-1] == "synthetic"
    assert all(row.endswith(",yes") for row in rows)
    made = runpy.run_path(str(ROOT / "tools" / "make_sample_log.py"))
    assert len(rows) == made["REQUESTS"]
