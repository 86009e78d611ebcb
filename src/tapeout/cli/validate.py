"""`tapeout validate`: predictions for rows of your own, and how far they are off."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapeout.cli.replay import trace
from tapeout.constants import PERCENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tapeout.serving.validation.scoring import GroupScore

app = typer.Typer(
    name="validate",
    help="Predict rows of your own measurements and print the errors.",
    no_args_is_help=True,
)

Cases = Annotated[Path, typer.Argument(help="CSV, one row a case", show_default=False)]
Out = Annotated[
    Path | None,
    typer.Option(help="Write the rows with their predictions here", show_default=False),
]
AnchorsFile = Annotated[
    Path | None,
    typer.Option(help="CSV of a few measured rows that correct the rest", show_default=False),
]
By = Annotated[
    list[str] | None,
    typer.Option("--by", help="Column to group errors by; repeatable", show_default=False),
]
ChipFile = Annotated[
    Path | None,
    typer.Option(help="Chip that `tapeout calibrate` measured", show_default=False),
]
Overlay = Annotated[
    Path | None,
    typer.Option(help="TOML of chips and newer figures (docs/catalog.md)", show_default=False),
]
Engine = Annotated[
    str,
    typer.Option(
        help="Of closed loops: mixture (steady state), burst, or simulate, which runs each through"
        " the serving simulator and prints all three"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table")]


@app.command()
def ops(
    cases: Cases,
    out: Out = None,
    anchors: AnchorsFile = None,
    by: By = None,
    chip_file: ChipFile = None,
    overlay: Overlay = None,
    as_json: AsJson = False,
) -> None:
    """Time operators: one row a matrix product, attention, collective or small operator.

    Exit status 0 whatever the errors, 2 for a file that cannot be read. Columns: docs/validate.md.

    Examples:

      tapeout validate ops cases.csv --out predicted.csv

      tapeout validate ops cases.csv --anchors few.csv --by op --by dtype
    """
    from tapeout.serving.validation.chips import chips_from  # noqa: PLC0415
    from tapeout.serving.validation.operator_rows import DEFAULT_BY, validate_ops  # noqa: PLC0415

    found = validate_ops(
        cases,
        anchors=anchors,
        by=tuple(by or DEFAULT_BY),
        find=chips_from(overlay, chip_file),
    )
    _finish(out, found.columns, found.rows)
    _Report(scores=found.scores).show(found.status, found.rows, out, as_json=as_json)


@app.command()
def serving(
    cases: Cases,
    out: Out = None,
    anchors: AnchorsFile = None,
    by: By = None,
    chip_file: ChipFile = None,
    overlay: Overlay = None,
    engine: Engine = "burst",
    as_json: AsJson = False,
) -> None:
    """Predict serving runs: rates, TTFT, TPOT and power of a model on chips under a load.

    The column `model` is the language model and is echoed; the name of the timing model is in
    `timing_model`, then status, assumptions, reason.

    Exit status 0 whatever the errors, 2 for a file that cannot be read. Columns: docs/validate.md.

    Examples:

      tapeout validate serving runs.csv --out predicted.csv

      tapeout validate serving runs.csv --anchors few.csv --by engine --json

      tapeout validate serving runs.csv --engine simulate --out predicted.csv
    """
    from tapeout.errors import UnknownNameError  # noqa: PLC0415
    from tapeout.serving.closed_loop import LoopEngine  # noqa: PLC0415
    from tapeout.serving.validation.chips import chips_from  # noqa: PLC0415
    from tapeout.serving.validation.serving_rows import (  # noqa: PLC0415
        DEFAULT_BY,
        validate_serving,
    )

    if engine not in tuple(LoopEngine):
        raise UnknownNameError("engine", engine, [one.value for one in LoopEngine])
    found = validate_serving(
        cases,
        anchors=anchors,
        by=tuple(by or DEFAULT_BY),
        find=chips_from(overlay, chip_file),
        engine=LoopEngine(engine),
    )
    _finish(out, found.columns, found.rows)
    lines = [
        {"row": number, "check": one.name, "sentence": one.sentence}
        for number, one in found.violations
    ]
    report = _Report(scores=found.scores, engines=found.engine_scores, violations=lines)
    report.show(found.status, found.rows, out, as_json=as_json)


@app.command()
def convert(
    file: Annotated[Path, typer.Argument(help="File of published measurements")],
    out: Annotated[
        Path | None, typer.Option(help="Write the cases here instead of the screen")
    ] = None,
) -> None:
    """Turn a published table of operator times into cases for `validate ops`.

    Example:

      tapeout validate convert gemm_h100_sxm.csv --out cases.csv
    """
    from tapeout.files import write_whole  # noqa: PLC0415
    from tapeout.serving.validation.converting import convert as run  # noqa: PLC0415
    from tapeout.serving.validation.files import table_text  # noqa: PLC0415

    name, columns, rows = run(file)
    text = table_text(columns, rows)
    if out is None:
        typer.echo(text, nl=False)
        return
    write_whole(out, text)
    typer.echo(f"Wrote {len(rows)} cases to {out} ({name})")


app.command()(trace)


def _finish(out: Path | None, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    if out is None:
        return
    from tapeout.files import write_whole  # noqa: PLC0415
    from tapeout.serving.validation.files import table_text  # noqa: PLC0415

    write_whole(out, table_text(columns, rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """Errors by group and by engine, and laws that predictions break."""

    scores: Sequence[GroupScore]
    engines: Sequence[GroupScore] = ()
    violations: Sequence[Mapping[str, Any]] = ()

    def show(
        self,
        status: Mapping[str, int],
        rows: Sequence[Mapping[str, str]],
        out: Path | None,
        *,
        as_json: bool,
    ) -> None:
        """Print the summary."""
        if as_json:
            from tapeout.study.results import to_json  # noqa: PLC0415

            typer.echo(to_json({"rows": dict(status)} | self._content()), nl=False)
            return
        total = sum(status.values())
        words = ", ".join(f"{number} {word}" for word, number in status.items())
        typer.echo(f"{total} row{'' if total == 1 else 's'}: {words}")
        if self.scores:
            _table(self.scores)
        else:
            hint = "" if out is not None else "; write the predictions with --out FILE"
            typer.echo(f"No measured column is filled, so there is nothing to score{hint}.")
        if self.engines:
            typer.echo("Closed loops by engine, the same rows for each:")
            _table(self.engines, note=False)
        _unanswered(rows)
        for one in self.violations:
            typer.echo(
                f"row {one['row']}: our own prediction breaks {one['check']}: {one['sentence']}"
            )
        if out is not None:
            typer.echo(f"Predictions: {out}")

    def _content(self) -> dict[str, Any]:
        """For JSON; errors by engine only where there are some."""
        content: dict[str, Any] = {
            "scores": [_plain(asdict(one)) for one in self.scores],
            "violations": [dict(one) for one in self.violations],
        }
        if self.engines:
            content["engines"] = [_plain(asdict(one)) for one in self.engines]
        return content


MOST_REASONS = 5


def _unanswered(rows: Sequence[Mapping[str, str]]) -> None:
    """Say why rows have no answer, each reason once."""
    reasons: dict[str, list[int]] = {}
    for number, row in enumerate(rows, start=1):
        if row["status"] == "unanswered":
            reasons.setdefault(row["reason"], []).append(number)
    for reason, numbers in list(reasons.items())[:MOST_REASONS]:
        more = f" and {len(numbers) - 1} more" if len(numbers) > 1 else ""
        typer.echo(f"row {numbers[0]}{more} has no answer: {reason}")
    if len(reasons) > MOST_REASONS:
        typer.echo(f"{len(reasons) - MOST_REASONS} other reasons: see the column reason of --out")


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Infinite and missing numbers as None, which JSON has."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in values.items()
    }


COLUMNS = (
    ("group", "<"),
    ("quantity", "<"),
    ("n", ">"),
    ("answered", ">"),
    ("median", ">"),
    ("p90", ">"),
    ("bias", ">"),
    ("coverage", ">"),
    ("high/low", ">"),
    ("by curve", ">"),
)


def _table(scores: Sequence[GroupScore], *, note: bool = True) -> None:
    """Errors as a table of fixed columns, the same on a screen and in a file."""
    lines = [tuple(name for name, _ in COLUMNS)]
    lines.extend(
        (
            one.group,
            one.quantity,
            str(one.n),
            str(one.answered),
            _percent(one.median),
            _percent(one.p90),
            _percent(one.bias, sign=True),
            _percent(one.coverage),
            f"{one.width:.2f}" if math.isfinite(one.width) else "-",
            f"{_percent(one.curve_median)} / {_percent(one.curve_p90)}",
        )
        for one in scores
    )
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    for line in lines:
        cells = (
            f"{cell:{align}{width}}"
            for cell, width, (_, align) in zip(line, widths, COLUMNS, strict=True)
        )
        typer.echo("  ".join(cells).rstrip())
    if not note:
        return
    typer.echo(
        "median, p90: absolute error of all measured rows, an unanswered row being a miss; bias: "
        "signed median; coverage and high/low: of the 80 % band; by curve: median / p90 with sets "
        "of rows that differ in load only weighing the same."
    )


def _percent(value: float, *, sign: bool = False) -> str:
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "miss"
    return f"{value / PERCENT:{'+' if sign else ''}.1f} %"
