import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from tapeout.report import formats as f
from tapeout.report import terminal


def shown(results, width: int, path: Path | None = None) -> str:
    console = Console(width=width, record=True, file=io.StringIO(), color_system=None)
    console.print(terminal(results, path))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 100, 120])
def test_the_verdict_fits_the_terminal(build, no_build, width):
    for results in (build, no_build):
        text = shown(results, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text


def test_the_terminal_says_what_the_page_says(build):
    text = shown(build, 120, Path("out/report.html"))
    for one in build.verdict["g_star"].values():
        assert f.times(one["value"]) in text
    for one in build.verdict["ranking"]:
        assert f.usd(one["mean_usd"]) in text
    assert "out/report.html" in text
    assert f"{build.verdict['counts']['sourced']} sourced" in text


def test_titles_are_not_read_as_markup(no_build):
    assert "</script>" in shown(no_build, 120)


def test_importing_the_room_loads_no_chart_library():
    code = (
        "import sys, tapeout.report; heavy = {'altair', 'scipy', 'jinja2', 'vl_convert', 'polars'};"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_terminal_loads_no_chart_library(tmp_path, build):
    build.write(tmp_path / "results")
    code = (
        "import sys, pathlib; from tapeout.study import read_results; from tapeout.report import"
        f" terminal; terminal(read_results(pathlib.Path({str(tmp_path / 'results')!r})));"
        "sys.exit('altair' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
