"""A commented scenario for somebody who starts: `tapeout new NAME`."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from tapeout.errors import Problem, ProblemsError


def starter_text() -> str:
    """Text of the commented scenario."""
    return files("tapeout.study").joinpath("data/starter.toml").read_text(encoding="utf-8")


def write_starter(folder: Path) -> Path:
    """Write scenario.toml and README.md into a new folder.

    Returns
    -------
    Path
        Of the scenario.

    Raises
    ------
    ProblemsError
        There is something at that path already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ProblemsError(
            f"new {folder}",
            [
                Problem(
                    path=str(folder),
                    value="",
                    message="exists already",
                    remedy="choose another name",
                )
            ],
        )
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "scenario.toml"
    for path, text in (
        (target, starter_text()),
        (folder / "README.md", "# The question\n\nWho asks, what is decided, by when?\n"),
    ):
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    return target
