"""Options of `tapeout simulate`, one type an option."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tapeout.cli import deploy as d
from tapeout.cli.deploy import ENGINE, MOST_REPLICAS, MOST_SEED, PLACED

TRAFFIC, JUDGED, FILES = "Traffic", "Limits", "Results"
PREFILL, DRAFTING = "Prefill apart", "Drafts"

TraceFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[TRACE|SPEC]",
        help="Trace of any known format, or a traffic spec (.toml); without it requests of"
        " --input and --output tokens arrive at --rate (docs/traffic.md)",
        show_default=False,
    ),
]
Chip = Annotated[
    str,
    typer.Option(
        "--chip",
        help="Catalogue chip or chip file, e.g. h100",
        show_default=False,
        rich_help_panel=PLACED,
    ),
]
Model = Annotated[
    str,
    typer.Option(
        "--model", help="Model, e.g. llama-3.1-8b", show_default=False, rich_help_panel=PLACED
    ),
]
Parallelism = d.Parallelism
Precision = d.Precision
Roofline = Annotated[
    bool,
    typer.Option(
        "--roofline", help="Peak rates and no overheads: optimistic", rich_help_panel=PLACED
    ),
]
Overlay = d.Overlay

Calibration = Annotated[
    Path | None,
    typer.Option(
        help="Constants of this deployment that `tapeout fit` wrote",
        show_default=False,
        rich_help_panel=ENGINE,
    ),
]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        help="Requests per second; the time of a trace is scaled to it",
        show_default=False,
        rich_help_panel=TRAFFIC,
    ),
]
Thin = Annotated[
    bool,
    typer.Option(
        "--thin",
        help="Reach --rate by leaving out sessions of the trace instead",
        rich_help_panel=TRAFFIC,
    ),
]
Speed = Annotated[
    float | None,
    typer.Option(
        help="Replay the trace so many times as fast",
        min=1e-6,
        show_default=False,
        rich_help_panel=TRAFFIC,
    ),
]
Requests = Annotated[
    int | None,
    typer.Option(
        help="First so many requests; without a trace 1000",
        min=1,
        show_default=False,
        rich_help_panel=TRAFFIC,
    ),
]
Duration = Annotated[
    float | None,
    typer.Option(
        help="Only requests that arrive before this time, s",
        show_default=False,
        rich_help_panel=TRAFFIC,
    ),
]
InFlight = Annotated[
    int,
    typer.Option(
        "--in-flight",
        help="Closed loop: so many requests at once, arrivals count for nothing",
        min=0,
        rich_help_panel=TRAFFIC,
    ),
]
Format = Annotated[
    str | None,
    typer.Option("--format", help="Of the trace; default: recognised", rich_help_panel=TRAFFIC),
]
Sort = Annotated[
    bool, typer.Option("--sort", help="Sort a trace that is out of order", rich_help_panel=TRAFFIC)
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        "--max-model-len",
        help="Longest sequence of the engine, input and output; longer rows of a trace are left"
        " out; default: the model's own maximum",
        min=2,
        rich_help_panel=TRAFFIC,
    ),
]
Input = Annotated[
    int | None,
    typer.Option(
        "--input",
        help="Input tokens, without a trace; default: 512",
        min=1,
        show_default=False,
        rich_help_panel=TRAFFIC,
    ),
]
Output = Annotated[
    int | None,
    typer.Option(
        "--output",
        help="Output tokens, without a trace; default: 128",
        min=1,
        show_default=False,
        rich_help_panel=TRAFFIC,
    ),
]
LengthCv = Annotated[
    float | None,
    typer.Option(
        "--length-cv",
        help="Without a trace: spread of both lengths over their mean, lognormal; default: 0",
        min=0,
        max=10,
        show_default=False,
        rich_help_panel=TRAFFIC,
    ),
]
Cv = Annotated[
    float | None,
    typer.Option(
        "--cv",
        help="Without a trace: spread of the gaps over their mean; default: 1, Poisson, else Gamma",
        min=0.01,
        max=100,
        show_default=False,
        rich_help_panel=TRAFFIC,
    ),
]

Policy = d.PolicyName
Sequences = d.Sequences
Budget = d.Budget
Blocks = d.Blocks
BlockTokens = d.BlockTokens
NoPrefixCache = d.NoPrefixCache
Replicas = d.Replicas
Utilisation = d.Utilisation
Conservativeness = d.Conservativeness
HostCacheGib = d.HostCacheGib
HostLink = Annotated[
    float | None,
    typer.Option(
        "--host-link-gb-per-s",
        metavar="X",
        help="Copies to and from host memory, GB/s of each chip and way; default: 50, assumed",
        min=0,
        show_default=False,
        rich_help_panel=ENGINE,
    ),
]
ByClient = Annotated[
    bool,
    typer.Option(
        "--by-client",
        help="Requests of a client go to one replica; else by turns",
        rich_help_panel=ENGINE,
    ),
]

PrefillChip = Annotated[
    str,
    typer.Option(
        "--prefill-chip",
        help="Prompts run on replicas of their own, on this chip; --replicas then decode",
        show_default=False,
        rich_help_panel=PREFILL,
    ),
]
PrefillParallelism = Annotated[
    str,
    typer.Option(
        "--prefill-parallelism",
        help="Of a prefill replica; default: as --parallelism",
        show_default=False,
        rich_help_panel=PREFILL,
    ),
]
PrefillReplicas = Annotated[
    int,
    typer.Option(
        "--prefill-replicas",
        help="How many; 0: no prefill pool, 1 where one of the other options is given",
        min=0,
        max=MOST_REPLICAS,
        rich_help_panel=PREFILL,
    ),
]
Layered = Annotated[
    bool,
    typer.Option(
        "--layered-transfer",
        help="Keys leave layer by layer while the prompt is computed",
        rich_help_panel=PREFILL,
    ),
]
StreamFirst = Annotated[
    bool,
    typer.Option(
        "--stream-first",
        help="The first token comes from the prefill replica; else from the decode replica, as in"
        " vLLM",
        rich_help_panel=PREFILL,
    ),
]

Drafts = Annotated[
    int,
    typer.Option("--drafts", help="Draft tokens a step", min=0, max=16, rich_help_panel=DRAFTING),
]
Acceptance = Annotated[
    float,
    typer.Option(
        "--acceptance",
        help="Chance that a draft is accepted after those before it; the default is an assumption",
        min=0.0,
        max=1.0,
        rich_help_panel=DRAFTING,
    ),
]
DraftShare = Annotated[
    float,
    typer.Option(
        "--draft-share",
        help="Time of the pass that makes a draft over a plain step; the default is an assumption",
        min=0.0,
        rich_help_panel=DRAFTING,
    ),
]

Slo = Annotated[
    str,
    typer.Option(
        "--slo",
        help="Limits in seconds: [CLASS:]METRIC_pNN=SECONDS between commas, with ttft, tpot, e2e"
        " or queue, e.g. ttft_p90=2,tpot_p90=0.05",
        show_default=False,
        rich_help_panel=JUDGED,
    ),
]
MaxLoad = Annotated[
    bool,
    typer.Option(
        "--max-load",
        help="Look for the largest rate that meets --slo, instead of running one rate; with --rate"
        " also the replicas that this rate needs",
        rich_help_panel=JUDGED,
    ),
]
Attainment = Annotated[
    float,
    typer.Option(
        "--attainment",
        help="With --max-load: share of requests that must meet every limit at once; 0: each limit"
        " at its own percentile",
        min=0,
        max=0.9999,
        rich_help_panel=JUDGED,
    ),
]
WarmUp = Annotated[
    float,
    typer.Option(
        "--warm-up", help="Seconds left out at the beginning", min=0, rich_help_panel=JUDGED
    ),
]
Seed = Annotated[
    int,
    typer.Option(
        help="Of what is drawn: arrivals, lengths, drafts",
        min=0,
        max=MOST_SEED,
        rich_help_panel=JUDGED,
    ),
]

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="One row a request (.csv or .parquet), or a folder with that, the timeline and the"
        " summary",
        show_default=False,
        rich_help_panel=FILES,
    ),
]
Report = Annotated[
    Path | None,
    typer.Option(
        help="Write a page (.html) with charts", show_default=False, rich_help_panel=FILES
    ),
]
ChromeTrace = Annotated[
    Path | None,
    typer.Option(
        "--chrome-trace",
        help="Write trace events (.json) for Perfetto",
        show_default=False,
        rich_help_panel=FILES,
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON instead of tables", rich_help_panel=FILES)
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress bar", rich_help_panel=FILES)
]
