"""Results in, pages and tables out. Reads a results folder and nothing else.

The functions load their libraries when called, so that importing the room stays light.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tapeout.study import Results

__all__ = ["html", "terminal", "write_html", "write_report"]


def html(results: Results) -> str:
    """The report as one HTML page that works offline.

    Parameters
    ----------
    results : Results

    Returns
    -------
    str
        The same results give the same text.
    """
    from tapeout.report.page import html as render  # noqa: PLC0415  loads altair

    return render(results)


def write_html(results: Results, path: Path) -> None:
    """Write the HTML report, all or nothing.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    from tapeout.report.page import write_html as write  # noqa: PLC0415  loads altair

    write(results, path)


def write_report(results: Results, path: Path) -> None:
    """Write the page, or the workbook where the name ends in .xlsx, all or nothing.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    if path.suffix.lower() == ".xlsx":
        from tapeout.report.workbook import write_workbook  # noqa: PLC0415  when it is asked for

        write_workbook(results, path)
    else:
        write_html(results, path)


def terminal(results: Results, report_path: Path | None = None) -> RenderableType:
    """The verdict as tables for a terminal of 80 columns or more.

    Parameters
    ----------
    results : Results
    report_path : Path, optional
        Where the HTML report lies, to be named at the end.

    Returns
    -------
    rich renderable
    """
    from tapeout.report.terminal import render  # noqa: PLC0415  loads the tables

    return render(results, report_path)
