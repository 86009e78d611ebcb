"""A measured run of vLLM as a folder: what was asked, with which settings, and what came out.

`meta.json` holds settings, `workload.jsonl` lengths and prefix blocks, `requests.jsonl` the stamps
of the engine, `timeseries.csv` the state every second (LLMServingSim's bench writes them).
Arrivals are the engine's own `queued_ts`, since clients deviate from their plan.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.errors import Problem, ProblemsError
from tapeout.numerics import Floats
from tapeout.serving.traffic.trace import Prefixes, Trace

STAMPS = ("queued_ts", "first_token_ts", "last_token_ts")
LENGTHS = ("input_toks", "output_toks")
CURVES = ("t", "running", "waiting")
PREFIX = "prefix_block_ids"
PREFIX_TOKENS = 16  # tokens of a block of the workload file
MOST_PROBLEMS = 5  # of one file
MOST_BYTES = 200_000_000  # of one file
MOST_TOKENS = 10_000_000  # of a request, and of any limit of the engine


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Settings of the engine; None where the folder does not say and the default is not known.

    `printed_blocks` is what vLLM printed (num_gpu_blocks); the usable count is one less.
    """

    engine: str
    model: str
    gpu: str
    dtype: str
    kv_dtype: str
    tensor_parallel: int
    data_parallel: int
    expert_parallel: bool
    max_sequences: int | None
    token_budget: int | None
    block_tokens: int
    printed_blocks: int | None
    memory_fraction: float
    async_scheduling: bool
    prefix_cache: bool
    reserve_prompt: bool
    longest_chunk: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRun:
    """One run, requests in order of `queued_ts`; times from the first of them.

    Attributes
    ----------
    names : tuple of str
    trace : Trace
    first_s, last_s : array, shape (request,)
        First and last token. [s]
    first_stamps : int
        Distinct stamps of first tokens: steps that ended with one or more.
    sampled_s, running, waiting : array, shape (sample,)
        State over time; empty where there is no time series.
    settings : RunSettings
    """

    names: tuple[str, ...]
    trace: Trace
    first_s: Floats
    last_s: Floats
    first_stamps: int
    sampled_s: Floats
    running: Floats
    waiting: Floats
    settings: RunSettings


def read_run(folder: Path) -> MeasuredRun:
    """Read the folder of a run.

    Raises
    ------
    ProblemsError
        Everything that is missing or wrong in its files.
    """
    problems: list[Problem] = []
    meta = _Meta(_object(folder / "meta.json", problems), problems)
    settings = _settings(meta)
    asked = _lines(folder / "workload.jsonl", LENGTHS, problems)
    seen = _lines(folder / "requests.jsonl", (*LENGTHS, *STAMPS), problems)
    if not problems and len(asked) != len(seen):
        problems.append(
            Problem(
                path="requests.jsonl",
                value=f"{len(seen)} requests",
                message=f"workload.jsonl has {len(asked)}",
                remedy="line i of both files is one request",
            )
        )
    problems.extend(_unequal(asked, seen))
    curves = _curves(folder / "timeseries.csv", problems)
    if not problems and not seen:
        problems.append(Problem(path="requests.jsonl", value="", message="has no requests"))
    if problems:
        raise ProblemsError(f"run {folder}", problems)
    return _run(asked, seen, curves, settings, folder.name)


def _run(
    asked: Sequence[Mapping[str, Any]],
    seen: Sequence[Mapping[str, Any]],
    curves: Floats,
    settings: RunSettings,
    name: str,
) -> MeasuredRun:
    stamps = np.array([[float(row[key]) for key in STAMPS] for row in seen])
    order = np.argsort(stamps[:, 0], kind="stable")
    queued, first, last = (stamps[order] - stamps[order[0], 0]).T
    lengths = np.array([[int(seen[i][key]) for key in LENGTHS] for i in order], np.int64)
    return MeasuredRun(
        names=tuple(str(seen[i].get("request_id", i)) for i in order),
        trace=Trace(
            arrival_s=queued,
            input_tokens=lengths[:, 0],
            output_tokens=lengths[:, 1],
            prefixes=_prefixes([asked[i].get(PREFIX, []) for i in order]),
            source=name,
        ),
        first_s=first,
        last_s=last,
        first_stamps=int(np.unique(stamps[:, 1]).size),
        sampled_s=curves[:, 0],
        running=curves[:, 1],
        waiting=curves[:, 2],
        settings=settings,
    )


def _prefixes(blocks: Sequence[Sequence[int]]) -> Prefixes | None:
    counts = np.array([len(one) for one in blocks], np.int64)
    if not counts.any():
        return None
    every = np.concatenate([np.array(one, np.int64) for one in blocks])
    known, ids = np.unique(every, return_inverse=True)
    return Prefixes(
        block_tokens=PREFIX_TOKENS,
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        ids=ids.astype(np.int64),
        count=int(known.size),
    )


@dataclass(frozen=True, slots=True)
class _Meta:
    """Nested settings looked up by dotted path; what is wrong goes to `problems`."""

    content: Mapping[str, Any]
    problems: list[Problem]

    def find(self, *paths: str) -> tuple[str, Any]:
        """First path that is there and not null, with its value."""
        for path in paths:
            value: Any = self.content
            for key in path.split("."):
                value = value.get(key) if isinstance(value, Mapping) else None
            if value is not None:
                return path, value
        return paths[0], None

    def text(self, *paths: str) -> str:
        """Text; empty where there is none."""
        path, value = self.find(*paths)
        if value is None or isinstance(value, str):
            return value or ""
        return str(self._wrong(path, value, "no text", ""))

    def flag(self, *paths: str, default: bool) -> bool:
        """True or false."""
        path, value = self.find(*paths)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        return bool(self._wrong(path, value, "neither true nor false", default))

    def whole(self, *paths: str, least: int = 1) -> int | None:
        """A whole number; None where there is none."""
        path, value = self.find(*paths)
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST_TOKENS:
            return value
        self._wrong(path, value, f"no whole number from {least} to {MOST_TOKENS}", None)
        return None

    def share(self, *paths: str, default: float) -> float:
        """A number above 0 and up to 1."""
        path, value = self.find(*paths)
        if value is None:
            return default
        if isinstance(value, int | float) and not isinstance(value, bool) and 0.0 < value <= 1.0:
            return float(value)
        self._wrong(path, value, "no share above 0 and up to 1", default)
        return default

    def _wrong(self, path: str, value: Any, message: str, instead: Any) -> Any:
        self.problems.append(
            Problem(path=f"meta.json.{path}", value=str(value)[:40], message=message)
        )
        return instead


def _settings(meta: _Meta) -> RunSettings:
    """Settings; what is left out is what vLLM 0.19 does by default."""
    model = meta.text("model", "engine_kwargs.model")
    if meta.content and not model:
        meta.problems.append(Problem(path="meta.json.model", value="", message="is not stated"))
    parallel, scheduler = "resolved_config.parallel_config", "resolved_config.scheduler_config"
    cache = "resolved_config.cache_config"
    return RunSettings(
        engine=f"vllm {meta.text('vllm_version')}".strip(),
        model=model,
        gpu=meta.text("hardware.device_name"),
        dtype=meta.text("engine_kwargs.dtype") or "auto",
        kv_dtype=meta.text("engine_kwargs.kv_cache_dtype") or "auto",
        tensor_parallel=meta.whole(
            "engine_kwargs.tensor_parallel_size", f"{parallel}.tensor_parallel_size"
        )
        or 1,
        data_parallel=meta.whole(
            "engine_kwargs.data_parallel_size", f"{parallel}.data_parallel_size"
        )
        or 1,
        expert_parallel=meta.flag(
            "engine_kwargs.enable_expert_parallel",
            f"{parallel}.enable_expert_parallel",
            default=False,
        ),
        max_sequences=meta.whole("engine_kwargs.max_num_seqs", f"{scheduler}.max_num_seqs"),
        token_budget=meta.whole(
            "engine_kwargs.max_num_batched_tokens", f"{scheduler}.max_num_batched_tokens"
        ),
        block_tokens=meta.whole("kv_cache.block_size", f"{cache}.block_size") or 16,
        printed_blocks=meta.whole("kv_cache.num_gpu_blocks", f"{cache}.num_gpu_blocks", least=2),
        memory_fraction=meta.share(
            "kv_cache.gpu_memory_utilization", f"{cache}.gpu_memory_utilization", default=0.9
        ),
        async_scheduling=meta.flag(f"{scheduler}.async_scheduling", default=True),
        prefix_cache=meta.flag(
            "kv_cache.enable_prefix_caching", f"{cache}.enable_prefix_caching", default=True
        ),
        reserve_prompt=meta.flag(f"{scheduler}.scheduler_reserve_full_isl", default=True),
        longest_chunk=meta.whole(f"{scheduler}.long_prefill_token_threshold", least=0) or 0,
    )


def _text(path: Path, problems: list[Problem]) -> str | None:
    try:
        if path.stat().st_size > MOST_BYTES:
            problems.append(
                Problem(path=path.name, value="", message=f"is larger than {MOST_BYTES:,} bytes")
            )
            return None
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        problems.append(Problem(path=path.name, value="", message=f"cannot be read: {why}"))
        return None


def _object(path: Path, problems: list[Problem]) -> Mapping[str, Any]:
    text = _text(path, problems)
    if text is None:
        return {}
    found = _parsed(text)
    if not isinstance(found, dict):
        problems.append(Problem(path=path.name, value=text[:40], message="is no JSON object"))
        return {}
    return found


def _parsed(text: str) -> Any:
    """Content of JSON text; None where it is none, or nested deeper than Python follows."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _lines(
    path: Path, needed: Sequence[str], problems: list[Problem]
) -> Sequence[Mapping[str, Any]]:
    """One object a line, each with the numbers that are needed."""
    text = _text(path, problems)
    rows: list[Mapping[str, Any]] = []
    found: list[Problem] = []
    for number, line in enumerate((text or "").splitlines(), start=1):
        if not line.strip():
            continue
        row = _parsed(line)
        wrong = _wrong(f"{path.name}.{number}", row, needed)
        found.extend(wrong)
        if not wrong:
            rows.append(row)
    problems.extend(found[:MOST_PROBLEMS])
    if len(found) > MOST_PROBLEMS:
        problems.append(
            Problem(path=path.name, value="", message=f"{len(found) - MOST_PROBLEMS} more problems")
        )
    return rows


def _wrong(place: str, row: Any, needed: Sequence[str]) -> list[Problem]:
    if not isinstance(row, dict):
        return [Problem(path=place, value=str(row)[:40], message="is no JSON object")]
    found = []
    for key in needed:
        value = row.get(key)
        if not _good(value, whole=key in LENGTHS):
            kind = f"no whole number from 1 to {MOST_TOKENS}" if key in LENGTHS else "no time"
            shown = "" if value is None else str(value)[:40]
            found.append(Problem(path=f"{place}.{key}", value=shown, message=kind))
    if not found and not _in_order(row, needed):
        found.append(
            Problem(path=place, value="", message=f"{', '.join(STAMPS)} do not follow in order")
        )
    if not _whole_ids(row.get(PREFIX, [])):
        found.append(
            Problem(path=f"{place}.{PREFIX}", value="", message="no list of whole numbers")
        )
    return found


def _good(value: Any, *, whole: bool) -> bool:
    """Tokens from 1 up, or a time from 0 up."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        return False
    return 1 <= value <= MOST_TOKENS and value == int(value) if whole else value >= 0.0


def _in_order(row: Mapping[str, Any], needed: Sequence[str]) -> bool:
    times = [row[key] for key in STAMPS if key in needed]
    return times == sorted(times)


def _whole_ids(found: Any) -> bool:
    return isinstance(found, list) and all(
        isinstance(one, int) and not isinstance(one, bool) and 0 <= one < 2**62 for one in found
    )


def _unequal(
    asked: Sequence[Mapping[str, Any]], seen: Sequence[Mapping[str, Any]]
) -> list[Problem]:
    """Lines of the two files that are not one request, and prompts with more blocks than tokens."""
    found = []
    for number, (one, other) in enumerate(zip(asked, seen, strict=False), start=1):
        if one["input_toks"] != other["input_toks"]:
            found.append(
                Problem(
                    path=f"requests.jsonl.{number}.input_toks",
                    value=str(other["input_toks"]),
                    message=f"workload.jsonl says {one['input_toks']}",
                )
            )
        if len(one.get(PREFIX, [])) > one["input_toks"] // PREFIX_TOKENS:
            found.append(
                Problem(
                    path=f"workload.jsonl.{number}.{PREFIX}",
                    value=f"{len(one[PREFIX])} blocks",
                    message=f"more than fill {one['input_toks']} tokens",
                )
            )
    return found[:MOST_PROBLEMS]


def _curves(path: Path, problems: list[Problem]) -> Floats:
    """Time, running and waiting, shape (sample, 3); no file is no sample."""
    none = np.zeros((0, len(CURVES)))
    if not path.exists():
        return none
    text = _text(path, problems)
    table = list(csv.DictReader((text or "").splitlines()))
    rows = []
    for number, row in enumerate(table, start=2):
        try:
            values = [float(row[key]) for key in CURVES]
        except (KeyError, TypeError, ValueError):
            values = [math.nan]
        if not all(math.isfinite(value) for value in values):
            what = f"needs numbers in {', '.join(CURVES)}"
            problems.append(Problem(path=f"{path.name}.{number}", value="", message=what))
            return none
        rows.append(values)
    return np.array(rows) if rows else none
