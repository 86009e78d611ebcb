"""A load test that sends a trace's traffic to a real server with a public load generator.

Content is made up: what is sent has the lengths of the trace, and where the generator can be told
so the shared prefixes, but no meaning. Outputs are forced to their lengths by ignoring the end of
sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tapeout.errors import InfeasibleError, UnknownNameError
from tapeout.serving.export.command import Command
from tapeout.serving.traffic.trace import Trace

MOST_REQUESTS = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The server to send to, by what name it serves the model, and the tokeniser's checkpoint."""

    base_url: str
    hf_model: str
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTest:
    """Files of a load test, the command that starts it, and what it does not reproduce.

    `files` maps names to contents; the command is meant for the folder they lie in.
    """

    files: Mapping[str, str]
    command: Command
    notes: tuple[str, ...] = field(default=())


def load_test(trace: Trace, target: Target, generator: str = "vllm") -> LoadTest:
    """Write a load test for a trace.

    Parameters
    ----------
    trace : Trace
    target : Target
    generator : str
        "vllm": `vllm bench serve` with the trace's own arrival times and prefixes. "vllm-rate":
        the same tool with a rate and a burstiness, for versions before it replayed traces.
        "inference-perf": that of kubernetes-sigs, with the trace's arrival times.

    Raises
    ------
    UnknownNameError
        No such generator.
    InfeasibleError
        The trace is empty or very long.
    """
    if generator not in GENERATORS:
        raise UnknownNameError("load generator", generator, GENERATORS)
    if not trace.requests:
        raise InfeasibleError("the trace has no requests; nothing to send")
    if trace.requests > MOST_REQUESTS:
        raise InfeasibleError(
            f"the trace has {trace.requests:,} requests, more than the {MOST_REQUESTS:,} a load "
            "test is written for; take a window of it"
        )
    made = _maker(generator)(trace, target)
    return LoadTest(files=made.files, command=made.command, notes=(*_common(trace), *made.notes))


def _common(trace: Trace) -> tuple[str, ...]:
    notes = ["prompts are made up: right lengths, no meaning; outputs are forced to their lengths"]
    if trace.parent is not None and bool((trace.parent >= 0).any()):
        notes.append("turns are sent at the times of the trace, not when the turn before has ended")
    if trace.slo_class is not None:
        notes.append("classes are not sent")
    return tuple(notes)


def _maker(generator: str) -> Callable[[Trace, Target], LoadTest]:
    from tapeout.serving.export import inference_perf, vllm_bench  # noqa: PLC0415 - they import this

    makers = {
        "vllm": vllm_bench.replay,
        "vllm-rate": vllm_bench.at_a_rate,
        "inference-perf": inference_perf.replay,
    }
    return makers[generator]


GENERATORS = ("vllm", "vllm-rate", "inference-perf")
