"""Options of `tapeout perf`, one type an option."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="[CHIP] MODEL",
        help="Catalogue chip (gb300, or several: h100,b200) or a chip file, and model. The"
        " chip is left out where --chip or --chip-file names it",
        show_default=False,
    ),
]
Chips = Annotated[
    str, typer.Option("--chip", help="Chips to compare, e.g. h100,b200", show_default=False)
]
ChipFile = Annotated[
    Path | None,
    typer.Option(help="Chip that `tapeout calibrate` measured", show_default=False),
]
Step = Annotated[
    str,
    typer.Option(help="steady (decode steps, some with a prefill chunk), decode or prefill"),
]
Input = Annotated[float, typer.Option("--input", help="Mean input tokens", min=0)]
Output = Annotated[float, typer.Option("--output", help="Mean output tokens", min=1)]
Cached = Annotated[
    float, typer.Option(help="Share of the input found in the prefix cache", min=0, max=1)
]
Context = Annotated[
    float | None,
    typer.Option(
        help="With --step decode: tokens each sequence holds; default: input + output/2",
        min=0,
        show_default=False,
    ),
]
Batch = Annotated[
    str,
    typer.Option(
        help="Sequences (prompts with --step prefill) over all chips of the replica; a sweep:"
        " 1,2,4..256"
    ),
]
Parallelism = Annotated[
    str,
    typer.Option(
        help="Placements to compare, e.g. tp4,tp8,dp8-ep8; also -ppN and -dpattn",
        show_default=False,
    ),
]
Tensor = Annotated[
    int | None,
    typer.Option(help="Tensor parallel chips; default: the fewest that hold the model", min=1),
]
Pipeline = Annotated[int, typer.Option(help="Pipeline stages", min=1)]
Expert = Annotated[int, typer.Option(help="Expert parallel ranks", min=1)]
Data = Annotated[int, typer.Option(help="Attention groups sharing the experts", min=1)]
Precision = Annotated[
    str | None,
    typer.Option(help="fp4, fp8, int4, int8 or bf16; default: the narrowest served"),
]
Engine = Annotated[
    str, typer.Option(help="Use what is known of this engine on the chip, e.g. vllm")
]
Roofline = Annotated[
    bool, typer.Option("--roofline", help="Peak rates and no overheads: optimistic")
]
PowerCap = Annotated[
    float,
    typer.Option("--power-cap-w", help="Limit on the power of a chip, W; 0: its rating", min=0),
]
Overlay = Annotated[
    Path | None, typer.Option(help="TOML of newer catalogue figures", show_default=False)
]
Plot = Annotated[
    Path | None,
    typer.Option(
        help="Write a chart (.html or .svg): operators under the rooflines, of a sweep"
        " throughput against interactivity",
        show_default=False,
    ),
]
Csv = Annotated[
    Path | None, typer.Option("--csv", help="Write one row a point here", show_default=False)
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables")]
