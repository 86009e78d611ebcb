"""A deployment from command-line options: one chip, one model, one placement, one engine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapeout.errors import InfeasibleError

if TYPE_CHECKING:
    from tapeout.chip import ChipSpec
    from tapeout.perf import Placement
    from tapeout.serving.engine.host_cache import HostCache
    from tapeout.serving.engine.policies import Policy
    from tapeout.serving.types import Deployment
    from tapeout.workload import ModelArchitecture

CHIP_FILE = ".toml"
PLACED, ENGINE = "Chip and model", "Engine"  # panels of the help
# what a figure on the command line may be: beyond, tables and pools would fill the memory
MOST_REPLICAS = 10_000
MOST_SEED = 2**62
MOST_SEQUENCES = 65_536
MOST_BUDGET = 4_194_304
MOST_BLOCKS = 20_000_000
MOST_BLOCK_TOKENS = 65_536
MOST_HOST_GIB = 65_536.0
LEAST_LINK_GB_PER_S = 0.001

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="[CHIP] MODEL",
        help="Catalogue chip or chip file, and model; the chip is left out with --chip",
        show_default=False,
    ),
]
Chip = Annotated[str, typer.Option("--chip", help="Catalogue chip or chip file, e.g. h100")]
Parallelism = Annotated[
    str,
    typer.Option(
        help="Degrees, e.g. tp8, tp4-pp2, dp8-ep8, dp4-dpattn; default: the fewest chips that hold"
        " the model",
        show_default=False,
        rich_help_panel=PLACED,
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="fp4, fp8, int4, int8 or bf16; default: the narrowest served", rich_help_panel=PLACED
    ),
]
PolicyName = Annotated[
    str,
    typer.Option(
        "--policy", help="vllm-v1, vllm-v0, sarathi, orca, static or sglang", rich_help_panel=ENGINE
    ),
]
Sequences = Annotated[
    int | None,
    typer.Option(
        "--max-num-seqs",
        metavar="N",
        help="Sequences of a step and rank; default: the engine's on the chip",
        min=1,
        max=MOST_SEQUENCES,
        show_default=False,
        rich_help_panel=ENGINE,
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(
        "--max-num-batched-tokens",
        metavar="N",
        help="Tokens of a step and rank; default: the engine's on the chip",
        min=1,
        max=MOST_BUDGET,
        show_default=False,
        rich_help_panel=ENGINE,
    ),
]
Blocks = Annotated[
    int | None,
    typer.Option(
        "--kv-blocks",
        metavar="N",
        help="Usable cache blocks of a rank: vLLM's printed count less 1; default: estimated",
        min=1,
        max=MOST_BLOCKS,
        show_default=False,
        rich_help_panel=ENGINE,
    ),
]
BlockTokens = Annotated[
    int,
    typer.Option(
        "--block-size",
        metavar="N",
        help="Tokens of a cache block",
        min=1,
        max=MOST_BLOCK_TOKENS,
        rich_help_panel=ENGINE,
    ),
]
NoPrefixCache = Annotated[
    bool, typer.Option("--no-prefix-cache", help="Prompts share nothing", rich_help_panel=ENGINE)
]
Replicas = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Copies of the model",
        min=1,
        max=MOST_REPLICAS,
        rich_help_panel=ENGINE,
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Of what is drawn", min=0, max=MOST_SEED)]
Utilisation = Annotated[
    float | None,
    typer.Option(
        "--gpu-memory-utilization",
        metavar="X",
        help="Share of the memory that the engine takes; default: 0.9, as vLLM 0.19",
        min=0.01,
        max=1.0,
        show_default=False,
        rich_help_panel=ENGINE,
    ),
]
Conservativeness = Annotated[
    float | None,
    typer.Option(
        "--conservativeness",
        metavar="X",
        help="sglang: room kept for outputs; default: 1",
        min=0.01,
        max=100.0,
        show_default=False,
        rich_help_panel=ENGINE,
    ),
]
HostCacheGib = Annotated[
    float,
    typer.Option(
        "--host-cache-gib",
        metavar="X",
        help="Tier of the cache in host memory of a rank, GiB, as vLLM's --kv-offloading-size; 0:"
        " none",
        min=0,
        rich_help_panel=ENGINE,
    ),
]
Overlay = Annotated[
    Path | None,
    typer.Option(
        help="TOML of newer catalogue figures", show_default=False, rich_help_panel=PLACED
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of the engine as given; None: its defaults."""

    policy: str = "vllm-v1"
    max_sequences: int | None = None
    token_budget: int | None = None
    kv_blocks: int | None = None
    block_tokens: int = 16
    prefix_cache: bool = True
    draft_tokens: int = 0
    acceptance: float = 1.0
    draft_share: float | None = None
    memory_fraction: float | None = None
    max_model_len: int | None = None
    conservativeness: float | None = None
    host_cache_gib: float = 0.0
    host_link_gb_per_s: float | None = None
    replicas: int = 1


def limits_of(
    max_sequences: int | None,
    token_budget: int | None,
    kv_blocks: int | None,
    block_tokens: int,
    *,
    no_prefix_cache: bool,
) -> Limits:
    """Limits that every command about one engine has; others are replaced in them."""
    return Limits(
        max_sequences=max_sequences,
        token_budget=token_budget,
        kv_blocks=kv_blocks,
        block_tokens=block_tokens,
        prefix_cache=not no_prefix_cache,
    )


def deployment_of(placement: Placement, limits: Limits) -> Deployment:
    """Put a placement under an engine.

    Raises
    ------
    UnknownNameError
        No policy of this name.
    """
    from tapeout.serving.types import Deployment  # noqa: PLC0415

    return Deployment(
        placement=placement,
        policy=_policy(limits),
        max_sequences=limits.max_sequences,
        token_budget=limits.token_budget,
        kv_blocks=limits.kv_blocks,
        block_tokens=limits.block_tokens,
        replicas=limits.replicas,
        memory_fraction=limits.memory_fraction,
        max_model_len=limits.max_model_len,
        host_cache=_host_cache(limits),
    )


def _host_cache(limits: Limits) -> HostCache | None:
    """Tier in host memory; None where it has no size."""
    from tapeout.constants import GIB, GIGA  # noqa: PLC0415
    from tapeout.serving.engine.host_cache import LINK_BYTES_PER_S, HostCache  # noqa: PLC0415

    if limits.host_cache_gib == 0.0:
        return None
    link = (
        LINK_BYTES_PER_S / GIGA if limits.host_link_gb_per_s is None else limits.host_link_gb_per_s
    )
    if not 0.0 < limits.host_cache_gib <= MOST_HOST_GIB:
        raise InfeasibleError(f"--host-cache-gib is at most {MOST_HOST_GIB:,.0f}")
    if not LEAST_LINK_GB_PER_S <= link < float("inf"):
        raise InfeasibleError(f"--host-link-gb-per-s is at least {LEAST_LINK_GB_PER_S:g}, finite")
    return HostCache(size_bytes=limits.host_cache_gib * GIB, link_bytes_per_s=link * GIGA)


def _policy(limits: Limits) -> Policy:
    from dataclasses import replace  # noqa: PLC0415

    from tapeout.serving.engine.policies import (  # noqa: PLC0415
        DRAFT_SHARE,
        Drafting,
        Sglang,
        VllmV1,
        policy_named,
    )

    policy = policy_named(limits.policy)
    if isinstance(policy, Sglang):
        kept = limits.conservativeness or policy.conservativeness
        return replace(policy, prefix_cache=limits.prefix_cache, conservativeness=kept)
    if not isinstance(policy, VllmV1):
        return policy
    drafting = None
    if limits.draft_tokens:  # what share is accepted is no argument of an engine, so 1 by default
        share = DRAFT_SHARE if limits.draft_share is None else limits.draft_share
        chances = (limits.acceptance,) * limits.draft_tokens
        drafting = Drafting(acceptance=chances, share=share)
    return replace(policy, prefix_cache=limits.prefix_cache, drafting=drafting)


def placement_of(
    names: list[str], chip: str, parallelism: str, precision: str | None, overlay: Path | None
) -> Placement:
    """Place a model on a chip.

    Raises
    ------
    TapeoutError
        A name is not known, or the model does not fit.
    """
    from tapeout.fabric import usual_system  # noqa: PLC0415
    from tapeout.perf import Placement, heads_divide, placements, serving_formats  # noqa: PLC0415
    from tapeout.perf.sharding import check_degrees  # noqa: PLC0415
    from tapeout.serving.cases import parse_parallelism  # noqa: PLC0415
    from tapeout.workload import load_model  # noqa: PLC0415

    named, model = _split(names, chip)
    system, architecture = usual_system(_chip(named, overlay)), load_model(model)
    formats = serving_formats(system.chip, architecture, precision, stack="vllm")
    if not parallelism:
        found = placements(architecture, system, formats, stack="vllm")
        if not found:
            raise InfeasibleError(
                f"{architecture.name} fits no placement on {system.chip.name}; name one with"
                " --parallelism to see by how much"
            )
        even = [one for one in found if heads_divide(architecture, one.tensor_parallel)]
        if not even:
            _check_heads(architecture, found[0].tensor_parallel, found[0].chips)
        return even[0]
    degrees = parse_parallelism(parallelism)
    check_degrees(degrees)
    most = system.chips_per_domain * system.domains
    if degrees.ranks * degrees.pipeline > most:
        raise InfeasibleError(
            f"parallelism {parallelism} takes {degrees.ranks * degrees.pipeline:,} chips; a system"
            f" of {system.chip.name} has at most {most}"
        )
    _check_heads(architecture, degrees.tensor, most)
    return Placement(
        architecture=architecture,
        system=system,
        tensor_parallel=degrees.tensor,
        pipeline_parallel=degrees.pipeline,
        expert_parallel=degrees.expert,
        data_parallel=degrees.data,
        formats=formats,
        stack="vllm",
    )


def _check_heads(architecture: ModelArchitecture, tensor: int, most: int) -> None:
    from tapeout.perf import heads_divide  # noqa: PLC0415

    if heads_divide(architecture, tensor):
        return
    good = [str(one) for one in range(1, most + 1) if heads_divide(architecture, one)]
    raise InfeasibleError(
        f"the heads of {architecture.name} cannot be cut over {tensor} tensor-parallel ranks;"
        f" {', '.join(good)} work"
    )


def _split(names: list[str], chip: str) -> tuple[str, str]:
    given = [*names[:-1], *((chip,) if chip else ())]
    if len(given) != 1:
        raise InfeasibleError("name one chip and one model, e.g. h100 llama-3.1-8b")
    return given[0], names[-1]


def _chip(name: str, overlay: Path | None) -> ChipSpec:
    from tapeout.catalog import load  # noqa: PLC0415
    from tapeout.chip import spec_from_record  # noqa: PLC0415

    if name.endswith(CHIP_FILE):
        from tapeout.perf.calibrate import load_chip_file  # noqa: PLC0415

        return load_chip_file(Path(name))
    return spec_from_record(load(overlay).chip(name))
