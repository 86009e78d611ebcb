"""`tapeout export`: a deployment as arguments of an engine, as a manifest, as a load test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapeout.cli import deploy as d

if TYPE_CHECKING:
    from tapeout.serving.export import Command, Wanted
    from tapeout.serving.traffic import Trace

app = typer.Typer(
    name="export",
    help="Write a deployment for a real engine, cluster or load generator (docs/export.md).",
    no_args_is_help=True,
)

HfModel = Annotated[
    str,
    typer.Option(
        "--hf-model", help="Checkpoint to serve: a Hugging Face id or a folder", show_default=False
    ),
]
Quantized = Annotated[
    bool, typer.Option("--quantized", help="The checkpoint is in the placement's formats already")
]
MaxLength = Annotated[
    int | None,
    typer.Option("--max-model-len", metavar="N", help="Longest prompt and output", min=1),
]
Drafts = Annotated[
    int,
    typer.Option(
        "--draft-tokens", metavar="N", help="Draft tokens a step; 0: no speculation", min=0
    ),
]
Method = Annotated[
    str, typer.Option("--speculative-method", help="vLLM: mtp, eagle3, draft_model, ngram ...")
]
DraftModel = Annotated[str, typer.Option("--draft-model", help="Draft model or head")]
KvRole = Annotated[
    str, typer.Option("--kv-role", help="Disaggregated: kv_producer, kv_consumer or kv_both")
]
Port = Annotated[int, typer.Option(metavar="N", help="Port of the server", min=1, max=65_535)]
Out = Annotated[
    Path | None, typer.Option("--out", help="Write here instead of printing", show_default=False)
]


@app.command()
def vllm(
    names: d.Names,
    hf_model: HfModel,
    chip: d.Chip = "",
    parallelism: d.Parallelism = "",
    precision: d.Precision = None,
    max_num_seqs: d.Sequences = None,
    max_num_batched_tokens: d.Budget = None,
    kv_blocks: d.Blocks = None,
    block_size: d.BlockTokens = 16,
    no_prefix_cache: d.NoPrefixCache = False,
    policy: d.PolicyName = "vllm-v1",
    quantized: Quantized = False,
    max_model_len: MaxLength = None,
    gpu_memory_utilization: d.Utilisation = None,
    draft_tokens: Drafts = 0,
    speculative_method: Method = "",
    draft_model: DraftModel = "",
    kv_role: KvRole = "",
    host_cache_gib: d.HostCacheGib = 0.0,
    port: Port = 8000,
    overlay: d.Overlay = None,
    out: Out = None,
) -> None:
    """Print the `vllm serve` command of one replica; what it cannot carry goes to stderr.

    Examples:

      tapeout export vllm h100 llama-3.1-8b --hf-model meta-llama/Llama-3.1-8B-Instruct

      tapeout export vllm b200 deepseek-r1 --parallelism dp8-ep8 --hf-model deepseek-ai/DeepSeek-R1
    """
    from tapeout.serving.export import vllm_command  # noqa: PLC0415

    placement = d.placement_of(names, chip, parallelism, precision, overlay)
    limits = d.limits_of(
        max_num_seqs, max_num_batched_tokens, kv_blocks, block_size, no_prefix_cache=no_prefix_cache
    )
    limits = replace(
        limits,
        policy=policy,
        memory_fraction=gpu_memory_utilization,
        max_model_len=max_model_len,
        draft_tokens=draft_tokens,
        host_cache_gib=host_cache_gib,
    )
    wanted = _wanted(
        hf_model,
        quantized=quantized,
        max_model_len=max_model_len,
        memory_fraction=gpu_memory_utilization,
        speculation=(speculative_method, draft_model),
        kv_role=kv_role,
        port=port,
    )
    _write_command(vllm_command(d.deployment_of(placement, limits), wanted), out)


@app.command()
def sglang(
    names: d.Names,
    hf_model: HfModel,
    chip: d.Chip = "",
    parallelism: d.Parallelism = "",
    precision: d.Precision = None,
    max_num_seqs: d.Sequences = None,
    max_num_batched_tokens: d.Budget = None,
    kv_blocks: d.Blocks = None,
    block_size: d.BlockTokens = 1,
    no_prefix_cache: d.NoPrefixCache = False,
    policy: d.PolicyName = "sglang",
    schedule_conservativeness: d.Conservativeness = None,
    quantized: Quantized = False,
    max_model_len: MaxLength = None,
    mem_fraction_static: Annotated[
        float | None,
        typer.Option(metavar="X", help="Weights and cache of the memory", min=0.01, max=1.0),
    ] = None,
    port: Port = 30_000,
    overlay: d.Overlay = None,
    out: Out = None,
) -> None:
    """Print the `sglang.launch_server` command of one replica; what it cannot carry: to stderr.

    Example:

      tapeout export sglang h100 llama-3.1-8b --hf-model meta-llama/Llama-3.1-8B-Instruct
    """
    from tapeout.serving.export import sglang_command  # noqa: PLC0415

    placement = d.placement_of(names, chip, parallelism, precision, overlay)
    limits = d.limits_of(
        max_num_seqs, max_num_batched_tokens, kv_blocks, block_size, no_prefix_cache=no_prefix_cache
    )
    limits = replace(limits, policy=policy, conservativeness=schedule_conservativeness)
    wanted = _wanted(
        hf_model,
        quantized=quantized,
        max_model_len=max_model_len,
        memory_fraction=mem_fraction_static,
        port=port,
    )
    _write_command(sglang_command(d.deployment_of(placement, limits), wanted), out)


@app.command()
def kubernetes(
    names: d.Names,
    hf_model: HfModel,
    chip: d.Chip = "",
    parallelism: d.Parallelism = "",
    precision: d.Precision = None,
    engine: Annotated[str, typer.Option(help="vllm or sglang")] = "vllm",
    replicas: d.Replicas = 1,
    max_num_seqs: d.Sequences = None,
    max_num_batched_tokens: d.Budget = None,
    kv_blocks: d.Blocks = None,
    block_size: d.BlockTokens = 16,
    no_prefix_cache: d.NoPrefixCache = False,
    quantized: Quantized = False,
    max_model_len: MaxLength = None,
    kv_role: KvRole = "",
    port: Port = 8000,
    name: Annotated[str, typer.Option(help="Of the objects; default: from the checkpoint")] = "",
    image: Annotated[str, typer.Option(help="Container image; default: a pinned one")] = "",
    resource: Annotated[str, typer.Option(help="Of the device plugin, e.g. nvidia.com/gpu")] = "",
    chips_per_host: Annotated[
        int | None, typer.Option(metavar="N", help="Chips of a node", min=1)
    ] = None,
    token_secret: Annotated[
        str, typer.Option(help="Secret whose key `token` is the Hugging Face token")
    ] = "",
    cache_claim: Annotated[str, typer.Option(help="PersistentVolumeClaim for weights")] = "",
    overlay: d.Overlay = None,
    out: Out = None,
) -> None:
    """Print a Kubernetes Deployment and Service that run the replicas.

    Example:

      tapeout export kubernetes h100 llama-3.1-70b --parallelism tp4 --replicas 2
      --hf-model meta-llama/Llama-3.1-70B-Instruct --out serve.yaml
    """
    from tapeout.serving.export import (  # noqa: PLC0415
        Cluster,
        manifest,
        sglang_command,
        to_yaml,
        vllm_command,
    )

    makers = {"vllm": vllm_command, "sglang": sglang_command}
    if engine not in makers:
        from tapeout.errors import UnknownNameError  # noqa: PLC0415

        raise UnknownNameError("engine", engine, makers)
    placement = d.placement_of(names, chip, parallelism, precision, overlay)
    limits = d.limits_of(
        max_num_seqs, max_num_batched_tokens, kv_blocks, block_size, no_prefix_cache=no_prefix_cache
    )
    policy = "sglang" if engine == "sglang" else limits.policy
    limits = replace(limits, policy=policy, replicas=replicas)
    deployment = d.deployment_of(placement, limits)
    wanted = _wanted(
        hf_model, quantized=quantized, max_model_len=max_model_len, kv_role=kv_role, port=port
    )
    command = makers[engine](deployment, wanted)
    cluster = Cluster(
        name=name,
        image=image,
        resource=resource,
        chips_per_host=chips_per_host,
        token_secret=token_secret,
        cache_claim=cache_claim,
    )
    documents, notes = manifest(deployment, command, cluster, engine=engine, port=port)
    head = f"# Written by `tapeout export`; flags as of {command.verified}.\n"
    _write(head + to_yaml(*documents), (*command.notes, *notes), out)


@app.command(name="load-test")
def load_test(
    traffic: Annotated[
        Path,
        typer.Argument(help="Trace in any format of docs/traffic.md, or a spec (.toml)"),
    ],
    hf_model: HfModel,
    out: Annotated[Path, typer.Option("--out", help="Folder for the files", show_default=False)],
    generator: Annotated[
        str,
        typer.Option(
            help="vllm (times and prefixes of the trace), vllm-rate (mean rate and burstiness, for"
            " older clients) or inference-perf"
        ),
    ] = "vllm",
    base_url: Annotated[str, typer.Option(help="The server")] = "http://127.0.0.1:8000",
    requests: Annotated[int | None, typer.Option(help="Only the first so many", min=1)] = None,
    sort: Annotated[bool, typer.Option("--sort", help="Bring rows into order of time")] = False,
    seed: d.Seed = 0,
) -> None:
    """Write a load test that sends a trace's traffic to a real server, and print its command.

    Examples:

      tapeout export load-test chat.csv --hf-model meta-llama/Llama-3.1-8B-Instruct --out out/load

      tapeout export load-test spec.toml --generator inference-perf --hf-model org/name --out load
    """
    from tapeout.files import write_whole  # noqa: PLC0415
    from tapeout.serving.export import load_test as make  # noqa: PLC0415
    from tapeout.serving.export.command import check_checkpoint  # noqa: PLC0415
    from tapeout.serving.export.load_test import Target  # noqa: PLC0415

    check_checkpoint(_wanted(hf_model, quantized=False, max_model_len=None, port=8000))
    trace = _trace(traffic, requests=requests, sort=sort, seed=seed)
    made = make(trace, Target(base_url=base_url, hf_model=hf_model, seed=seed), generator)
    command = f"# needs {made.command.verified}; run in this folder\n{made.command.shell()}\n"
    for name, text in {**made.files, "run.sh": command}.items():
        write_whole(out / name, text)
        typer.echo(f"Wrote {out / name}", err=True)
    typer.echo(command, nl=False)
    for note in made.notes:
        typer.echo(f"Note: {note}", err=True)


def _trace(path: Path, *, requests: int | None, sort: bool, seed: int) -> Trace:
    import numpy as np  # noqa: PLC0415

    from tapeout.serving.traffic import (  # noqa: PLC0415
        ReadOptions,
        make_trace_with_notes,
        read_spec,
        read_trace,
        take,
    )

    if path.suffix == ".toml":
        trace, notes = make_trace_with_notes(read_spec(path), seed)
        trace = take(trace, np.arange(min(requests or trace.requests, trace.requests)))
    else:
        trace, report = read_trace(path, ReadOptions(sort=sort, requests=requests, seed=seed))
        dropped = report.dropped_rows
        notes = (*report.notes, *((f"{dropped} rows were left out",) if dropped else ()))
    for note in notes:
        typer.echo(f"Note: {note}", err=True)
    return trace


def _wanted(
    hf_model: str,
    *,
    quantized: bool,
    max_model_len: int | None,
    port: int,
    memory_fraction: float | None = None,
    speculation: tuple[str, str] = ("", ""),
    kv_role: str = "",
) -> Wanted:
    from tapeout.serving.export import Speculation, Wanted  # noqa: PLC0415

    method, model = speculation
    return Wanted(
        hf_model=hf_model,
        quantized=quantized,
        max_model_len=max_model_len,
        memory_fraction=memory_fraction,
        speculation=Speculation(method=method, model=model) if method else None,
        kv_role=kv_role,
        port=port,
    )


def _write_command(command: Command, out: Path | None) -> None:
    head = f"# flags as of {command.verified}\n"
    _write(f"{head}{command.shell()}\n", command.notes, out)


def _write(text: str, notes: tuple[str, ...], out: Path | None) -> None:
    if out is None:
        typer.echo(text, nl=False)
    else:
        from tapeout.files import write_whole  # noqa: PLC0415

        write_whole(out, text)
        typer.echo(f"Wrote {out}")
    for note in notes:
        typer.echo(f"Note: {note}", err=True)
