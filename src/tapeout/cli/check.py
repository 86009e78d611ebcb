"""`tapeout check`: whether figures can be true."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapeout import constants as c
from tapeout.errors import InfeasibleError, TapeoutError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tapeout.serving.sanity import Figures, Finding

app = typer.Typer(
    name="check",
    help="Hold published figures against the laws they must obey.",
    no_args_is_help=True,
)
NAN = float("nan")


@app.callback()
def _root() -> None:
    """Hold published figures against the laws they must obey."""


@app.command()
def serving(
    cases: Annotated[
        Path | None,
        typer.Argument(help="CSV of serving rows (docs/validate.md)", show_default=False),
    ] = None,
    chip: Annotated[str, typer.Option(help="Catalogue chip, e.g. h100")] = "",
    model: Annotated[str, typer.Option(help="Model, e.g. llama-3.1-8b")] = "",
    precision: Annotated[str, typer.Option(help="Of the weights: fp4, fp8, bf16 ...")] = "",
    chips: Annotated[int | None, typer.Option(help="Chips of the whole run", min=1)] = None,
    parallelism: Annotated[str, typer.Option(help="E.g. tp8-ep8")] = "",
    concurrency: Annotated[float | None, typer.Option(help="Requests in flight", min=0)] = None,
    input_tokens: Annotated[float | None, typer.Option("--input", help="Tokens", min=0)] = None,
    output_tokens: Annotated[float | None, typer.Option("--output", help="Tokens", min=1)] = None,
    ttft_ms: Annotated[float | None, typer.Option(help="Time to first token", min=0)] = None,
    tpot_ms: Annotated[float | None, typer.Option(help="Time per output token", min=0)] = None,
    rate: Annotated[
        float | None, typer.Option(help="Output tokens per second per chip", min=0)
    ] = None,
    total_rate: Annotated[
        float | None, typer.Option(help="Input and output tokens per second per chip", min=0)
    ] = None,
    power_w: Annotated[float | None, typer.Option(help="Power per chip [W]", min=0)] = None,
    joule: Annotated[float | None, typer.Option(help="Joules per output token", min=0)] = None,
    peak_tflops: Annotated[
        float | None, typer.Option(help="Peak as the source states it [TFLOP/s]", min=0)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines")] = False,
) -> None:
    """Check one run, or every row of a table. Exit status 1 if a law is broken, 2 on mistakes.

    Examples:

      tapeout check serving --chip h100 --model llama-3.1-8b --chips 1 --tpot-ms 0.041 \
        --concurrency 1

      tapeout check serving runs.csv --json
    """
    if cases is not None:
        found = _of_table(cases)
    else:
        row = {
            "chip": chip,
            "model": model,
            "weight_precision": precision,
            "n_chips": "" if chips is None else str(chips),
            "parallelism": parallelism,
            "concurrency_or_qps": "" if concurrency is None else f"{concurrency:g}",
            "input_tokens": _text(input_tokens),
            "output_tokens": _text(output_tokens),
            "ttft_ms": _text(ttft_ms),
            "tpot_ms": _text(tpot_ms),
            "output_tok_s_per_chip": _text(rate),
            "total_tok_s_per_chip": _text(total_rate),
            "power_w_per_chip": _text(power_w),
        }
        extra = {
            "joule_per_output_token": joule,
            "stated_peak_flop_per_s": None if peak_tflops is None else peak_tflops * c.TERA,
        }
        found = [(1, one) for one in _of_row(row, extra)]
        if tpot_ms is not None and chips is None:
            typer.echo("tpot-ms is held against no bound: give --chips as well", err=True)
    _print(found, as_json=as_json)
    if any(one.fires for _, one in found):
        raise typer.Exit(1)


def _text(value: float | None) -> str:
    return "" if value is None else repr(value)


def _of_table(path: Path) -> list[tuple[int, Finding]]:
    """Findings of every row; a row that cannot be read is skipped with a line on stderr."""
    from tapeout.serving.validation.files import read_table  # noqa: PLC0415
    from tapeout.serving.validation.serving_rows import NEEDED  # noqa: PLC0415

    found: list[tuple[int, Finding]] = []
    for number, row in enumerate(read_table(path, NEEDED).rows, start=1):
        try:
            found.extend((number, one) for one in _of_row(row, {}))
        except TapeoutError as error:
            typer.echo(f"row {number} is not checked: {error}", err=True)
    return found


def _of_row(row: Mapping[str, str], extra: Mapping[str, float | None]) -> list[Finding]:
    from tapeout.serving.sanity import check  # noqa: PLC0415

    return check(row_figures(row, extra))


def row_figures(row: Mapping[str, str], extra: Mapping[str, float | None]) -> Figures:
    """Inputs and measurements of a row; what the row leaves blank stays unknown."""
    from tapeout.serving.sanity import case_figures  # noqa: PLC0415
    from tapeout.serving.validation.inputs import read_case  # noqa: PLC0415
    from tapeout.serving.validation.scoring import measured_number  # noqa: PLC0415

    if not row.get("chip") or not row.get("model"):
        raise InfeasibleError("name the chip and the model: --chip h100 --model llama-3.1-8b")
    figures = case_figures(read_case(row))
    blank = {
        field: NAN
        for field, name in (
            ("new_tokens", "input_tokens"),
            ("output_tokens", "output_tokens"),
            ("concurrency", "concurrency_or_qps"),
        )
        if not row.get(name)
    }
    measured = {
        field: value * scale
        for field, name, scale in (
            ("ttft_s", "ttft_ms", c.MILLI),
            ("tpot_s", "tpot_ms", c.MILLI),
            ("output_tokens_per_s_per_chip", "output_tok_s_per_chip", 1.0),
            ("total_tokens_per_s_per_chip", "total_tok_s_per_chip", 1.0),
            ("power_w_per_chip", "power_w_per_chip", 1.0),
        )
        if (value := measured_number(row, name)) is not None
    }
    stated = {name: value for name, value in extra.items() if value is not None}
    changes: dict[str, Any] = {**blank, **measured, **stated}
    return replace(figures, **changes)


def _print(found: list[tuple[int, Finding]], *, as_json: bool) -> None:
    if as_json:
        from dataclasses import asdict  # noqa: PLC0415

        from tapeout.study.results import to_json  # noqa: PLC0415

        typer.echo(to_json([{"row": row, **asdict(one)} for row, one in found]), nl=False)
        return
    rows = len({row for row, _ in found})
    for row, one in found:
        if rows == 1 or one.fires:
            place = "" if rows == 1 else f"row {row}: "
            typer.echo(f"{place}{'FAILS' if one.fires else 'holds'}  {one.name}: {one.sentence}")
    fired = sum(one.fires for _, one in found)
    typer.echo(f"{len(found)} checks on {rows} row{'' if rows == 1 else 's'}, {fired} failed")
