"""A command line with what has to be said about it, and what a deployment leaves open."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tapeout.errors import InfeasibleError
from tapeout.serving.types import Deployment
from tapeout.workload.formats import expert_format


@dataclass(frozen=True, slots=True, kw_only=True)
class Speculation:
    """How draft tokens are made; the deployment says how many.

    `method` is one of the engine's (vLLM: "mtp", "eagle3", "draft_model", "ngram"); `model` the
    draft model or head, where the method needs one.
    """

    method: str
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the engine must be told and no deployment knows.

    Attributes
    ----------
    hf_model : str
        Checkpoint: a Hugging Face id or a folder.
    quantized : bool
        The checkpoint is stored in the formats of the placement already.
    max_model_len : int, optional
        Longest prompt and output together; None: the model's own.
    speculation : Speculation, optional
    kv_role : str
        "" or a role in a disaggregated deployment: kv_producer (prefill), kv_consumer (decode).
    memory_fraction : float, optional
        Of the chip's memory; None: that of the placement (vLLM) or the engine's own (SGLang).
    port : int
    """

    hf_model: str
    quantized: bool = False
    max_model_len: int | None = None
    speculation: Speculation | None = None
    kv_role: str = ""
    memory_fraction: float | None = None
    port: int = 8000


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command line.

    Attributes
    ----------
    program : tuple of str
        What is run, with its positional arguments.
    arguments : tuple of tuples of str
        Each flag with its values.
    model : str
        The checkpoint that is served.
    environment : mapping
        Variables that must be set.
    notes : tuple of str
        What the command does not carry over, and what to mind.
    verified : str
        Version of the engine whose documentation has these flags.
    """

    program: tuple[str, ...]
    arguments: tuple[tuple[str, ...], ...]
    model: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    verified: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """Program and arguments, one word each."""
        return (*self.program, *(word for argument in self.arguments for word in argument))

    def shell(self) -> str:
        r"""As lines for a POSIX shell, quoted.

        Examples
        --------
        >>> print(Command(program=("serve", "a b"), arguments=(("--port", "80"),)).shell())
        serve 'a b' \
          --port 80
        """
        set_before = [f"{name}={shlex.quote(one)}" for name, one in self.environment.items()]
        lines = [" ".join([*set_before, shlex.join(self.program)])]
        lines += [shlex.join(argument) for argument in self.arguments]
        return " \\\n  ".join(lines)


def ranks_share_experts(deployment: Deployment) -> bool:
    """Whether data-parallel ranks hold one set of experts between them."""
    placement = deployment.placement
    return placement.architecture.experts > 0 and placement.data_parallel > 1


def quantization(deployment: Deployment, wanted: Wanted, engine: str) -> Iterator[tuple[str, ...]]:
    """`--quantization` where weights are narrower than the published checkpoint's.

    Both engines quantise a 16-bit checkpoint to fp8 while they load it; other formats must be in
    the checkpoint.

    Raises
    ------
    InfeasibleError
        The engine cannot make the format; the checkpoint must hold it.
    """
    placement = deployment.placement
    native = placement.architecture.native
    expert = expert_format(placement.formats)
    has_experts = placement.architecture.experts > 0
    stored = (native.weight, native.expert if has_experts else native.weight)
    served = (placement.formats.weight, expert if has_experts else placement.formats.weight)
    if wanted.quantized or served == stored:
        return
    if set(stored) <= {"bf16", "fp16"} and set(served) == {"fp8"}:
        yield ("--quantization", "fp8")
        return
    raise InfeasibleError(
        f"{engine} does not make {' and '.join(dict.fromkeys(served))} weights of a checkpoint in "
        f"{' and '.join(dict.fromkeys(stored))} while it loads; name a checkpoint in that format "
        "with --hf-model and say --quantized, or choose another --precision"
    )


def check_checkpoint(wanted: Wanted) -> None:
    """Refuse a checkpoint that a command line would read as a flag.

    Raises
    ------
    InfeasibleError
    """
    if not wanted.hf_model or wanted.hf_model.startswith("-"):
        raise InfeasibleError(
            f"--hf-model {wanted.hf_model!r}: name the checkpoint to serve, a Hugging Face id such "
            "as org/name or a folder; the names of models here are not those of checkpoints"
        )
