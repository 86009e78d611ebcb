"""Help at eighty columns, the width of a terminal that nobody has made wider."""

import pytest
import typer
from typer.testing import CliRunner

from tapeout.cli.main import app


def paths(command, path=()):
    """Every command and group of commands, by the words that call it."""
    yield path
    for name, one in getattr(command, "commands", {}).items():
        yield from paths(one, (*path, name))


@pytest.mark.parametrize("path", list(paths(typer.main.get_command(app))), ids=" ".join)
def test_nothing_in_the_help_is_cut_at_eighty_columns(path):
    env = {"COLUMNS": "80", "TERMINAL_WIDTH": "80"}
    done = CliRunner().invoke(app, [*path, "--help"], env=env)
    assert done.exit_code == 0
    cut = [line for line in done.output.splitlines() if "…" in line]
    assert not cut, "give the widest option of this panel a short metavar"
