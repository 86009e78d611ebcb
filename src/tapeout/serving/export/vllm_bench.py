"""Load tests with `vllm bench serve`.

`timed_trace` [1]_ sends every request at its own time and builds prompts of the right number of
tokens from block identities, so arrival stamps and shared prefixes are those of the trace. It was
merged in 2026 and is among the arguments that the client of vLLM 0.23 prints. Older clients have
`custom` [2]_ with a rate and a burstiness (Gamma distributed gaps) [3]_; its dataset may give each
request an output length [4]_.

References
----------
.. [1] https://github.com/vllm-project/vllm/pull/39795
.. [2] https://docs.vllm.ai/en/stable/benchmarking/cli/#custom-dataset
.. [3] https://docs.vllm.ai/en/stable/benchmarking/cli/#load-pattern-configuration
.. [4] https://github.com/vllm-project/vllm/pull/31881
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np

from tapeout.numerics import Ints
from tapeout.serving.export.command import Command
from tapeout.serving.export.load_test import LoadTest, Target
from tapeout.serving.traffic.trace import Prefixes, Trace

VERSION = "vLLM 0.23"
OLDER = "vLLM 0.14"  # the first release after per-request output lengths of a custom dataset
TRACE_FILE = "trace.jsonl"
PROMPT_FILE = "prompts.jsonl"
RESULT_FILE = "result.json"
PLAIN_BLOCK = 512  # tokens of a block where the trace has none; any length serves
# Short frequent English words, each one token with its leading space in the usual vocabularies.
WORDS = """
the of and to in is it you that he was for on are with as his they at be this have from or one had
by word but not what all were we when your can said there use an each which she do how their if
will up other about out many then them these so some her would make like him into time has look two
more go see no way could my than first been call who its now find long down day did get come made
may part over new take only little work know place year live me back give most very after thing our
just name good man think say great where help much too mean
"""


def replay(trace: Trace, target: Target) -> LoadTest:
    """Send at the times of the trace, with its prefixes."""
    prefixes = trace.prefixes
    block = prefixes.block_tokens if prefixes else PLAIN_BLOCK
    lines = [
        json.dumps(
            {
                "timestamp": round(float(trace.arrival_s[number]), 6),
                "input_length": int(trace.input_tokens[number]),
                "output_length": int(trace.output_tokens[number]),
                "hash_ids": ids.tolist(),
            }
        )
        for number, ids in enumerate(block_ids(trace, block))
    ]
    command = Command(
        program=("vllm", "bench", "serve"),
        arguments=(
            *_target(target),
            ("--dataset-name", "timed_trace"),
            ("--dataset-path", TRACE_FILE),
            ("--self-timed",),
            ("--timed-trace-chunk-hash-size", str(block)),
            ("--timed-trace-sec-multiplier", "1"),
            *_rest(trace, target),
        ),
        model=target.hf_model,
        # Clients before the prompts stopped depending on Python's hashes need it fixed.
        environment={"PYTHONHASHSEED": "0"},
        verified=VERSION,
    )
    note = f"needs the client of {VERSION} or later; the server may be older"
    return LoadTest(files={TRACE_FILE: "\n".join(lines) + "\n"}, command=command, notes=(note,))


def at_a_rate(trace: Trace, target: Target) -> LoadTest:
    """Send at the trace's mean rate with Gamma distributed gaps of its variation."""
    rate, burstiness = arrivals(trace)
    prefixes = trace.prefixes
    block = prefixes.block_tokens if prefixes else PLAIN_BLOCK
    lines = [
        json.dumps({"prompt": prompt, "output_tokens": int(trace.output_tokens[number])})
        for number, prompt in enumerate(_prompts(trace, block))
    ]
    command = Command(
        program=("vllm", "bench", "serve"),
        arguments=(
            *_target(target),
            ("--dataset-name", "custom"),
            ("--dataset-path", PROMPT_FILE),
            ("--custom-output-len", "-1"),
            ("--skip-chat-template",),
            ("--request-rate", f"{rate:.6g}"),
            ("--burstiness", f"{burstiness:.6g}"),
            *_rest(trace, target),
        ),
        model=target.hf_model,
        verified=OLDER,
    )
    notes = (
        "arrival stamps are not reproduced: gaps are drawn anew with the rate and the variation "
        "of the trace, so trends and correlated bursts are lost",
        "prompts are words, one token each in the usual vocabularies: the client counts them with "
        "the model's tokeniser, and lengths may be off by a few per cent",
    )
    return LoadTest(files={PROMPT_FILE: "\n".join(lines) + "\n"}, command=command, notes=notes)


def arrivals(trace: Trace) -> tuple[float, float]:
    """Mean rate and burstiness: 1 over the squared coefficient of variation of the gaps. [1/s].

    A trace without two different times is sent all at once (rate infinite).
    """
    gaps = np.diff(trace.arrival_s)
    mean = float(gaps.mean()) if gaps.size else 0.0
    if mean <= 0.0:
        return float("inf"), 1.0
    squared = float(gaps.var()) / mean**2
    # A Gamma shape above this is as good as a fixed gap.
    return 1.0 / mean, min(1.0 / squared if squared > 0.0 else float("inf"), 1e6)


def block_ids(trace: Trace, block_tokens: int) -> Iterator[Ints]:
    """Identities of the blocks that cover each prompt, the last one partly.

    Blocks that share nothing get identities of their own, after those of the trace.
    """
    prefixes = trace.prefixes
    free = prefixes.count if prefixes else 0
    for number in range(trace.requests):
        needed = -(-int(trace.input_tokens[number]) // block_tokens)
        shared = _shared(prefixes, number)[:needed]
        own = needed - shared.size
        yield np.concatenate([shared, np.arange(free, free + own, dtype=np.int64)])
        free += own


def _shared(prefixes: Prefixes | None, number: int) -> Ints:
    if prefixes is None:
        return np.zeros(0, np.int64)
    return prefixes.ids[prefixes.offsets[number] : prefixes.offsets[number + 1]].astype(np.int64)


def _prompts(trace: Trace, block_tokens: int) -> Iterator[str]:
    """Words by block identity and place, as many as the prompt has tokens."""
    vocabulary = np.array(WORDS.split())
    place = np.arange(block_tokens, dtype=np.uint64)
    for number, ids in enumerate(block_ids(trace, block_tokens)):
        mixed = _mixed(ids.astype(np.uint64)[:, None] * np.uint64(block_tokens) + place)
        chosen = mixed.ravel()[: int(trace.input_tokens[number])] % np.uint64(vocabulary.size)
        yield " ".join(vocabulary[chosen.astype(np.int64)])


def _mixed(
    values: np.ndarray[tuple[int, ...], np.dtype[np.uint64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint64]]:
    """The finaliser of splitmix64: numbers that look drawn, the same for the same block."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


def _target(target: Target) -> tuple[tuple[str, ...], ...]:
    return (
        ("--backend", "openai"),
        ("--base-url", target.base_url),
        ("--endpoint", "/v1/completions"),
        ("--model", target.hf_model),
    )


def _rest(trace: Trace, target: Target) -> tuple[tuple[str, ...], ...]:
    return (
        ("--num-prompts", str(trace.requests)),
        ("--no-oversample",),
        ("--disable-shuffle",),
        ("--ignore-eos",),
        ("--seed", str(target.seed)),
        ("--percentile-metrics", "ttft,tpot,itl,e2el"),
        ("--metric-percentiles", "50,90,95,99"),
        ("--save-result",),
        ("--save-detailed",),
        ("--result-filename", RESULT_FILE),
    )
