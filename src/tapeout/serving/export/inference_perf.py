"""Load tests with inference-perf of kubernetes-sigs.

Its load type `trace_replay` sends at the times of a CSV in the format of the Azure public data set,
and the data type `random` makes prompts and outputs of the lengths in it [1]_. Keys of the
configuration are those of its guide as of 2026 [2]_, time stamps those that its reader parses:
`YYYY-MM-DD HH:MM:SS.ffffff`, microseconds.

References
----------
.. [1] https://github.com/kubernetes-sigs/inference-perf/blob/main/docs/loadgen.md
.. [2] https://github.com/kubernetes-sigs/inference-perf/blob/main/docs/config.md
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from tapeout.serving.export.command import Command
from tapeout.serving.export.load_test import LoadTest, Target
from tapeout.serving.export.yaml import to_yaml
from tapeout.serving.traffic.trace import Trace

VERSION = "inference-perf, its guide of 2026"
TRACE_FILE = "trace.csv"
CONFIG_FILE = "config.yaml"
BEGIN = datetime(2023, 1, 1, tzinfo=UTC)  # any day: the reader takes times from the first one


def replay(trace: Trace, target: Target) -> LoadTest:
    """Send at the times of the trace; prompts share nothing."""
    traced = {"file": TRACE_FILE, "format": "AzurePublicDataset"}
    config = {
        "api": {"type": "completion", "streaming": True},
        "data": {"type": "random", "trace": traced},
        "load": {"type": "trace_replay", "trace": traced, "base_seed": target.seed},
        "server": {
            "type": "vllm",
            "model_name": target.hf_model,
            "base_url": target.base_url,
            "ignore_eos": True,
        },
        "tokenizer": {"pretrained_model_name_or_path": target.hf_model},
        "report": {"request_lifecycle": {"summary": True, "per_stage": True, "per_request": True}},
    }
    command = Command(
        program=("inference-perf",),
        arguments=(("--config_file", CONFIG_FILE),),
        model=target.hf_model,
        verified=VERSION,
    )
    notes = []
    if trace.prefixes is not None:
        notes.append("shared prefixes are not reproduced: every prompt is drawn alone")
    return LoadTest(
        files={CONFIG_FILE: to_yaml(config), TRACE_FILE: "\n".join(_rows(trace)) + "\n"},
        command=command,
        notes=tuple(notes),
    )


def _rows(trace: Trace) -> Iterator[str]:
    yield "TIMESTAMP,ContextTokens,GeneratedTokens"
    first = float(trace.arrival_s[0])
    for arrival_s, prompt, output in zip(
        trace.arrival_s, trace.input_tokens, trace.output_tokens, strict=True
    ):
        stamp = BEGIN + timedelta(seconds=float(arrival_s) - first)
        yield f"{stamp:%Y-%m-%d %H:%M:%S.%f},{int(prompt)},{int(output)}"
