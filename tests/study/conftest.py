"""A small scenario as a dictionary, and a folder written from it."""

import copy
import datetime as dt
import json
from types import SimpleNamespace

import pytest

BASE = {
    "schema": 1,
    "title": "Small",
    "question": "Build, buy or rent?",
    "decision": {
        "start": dt.date(2026, 12, 1),
        "horizon_years": 8,
        "baseline": "buy",
        "headline": "build",
        "alternative": "gpu",
    },
    "scale": {"sized_by": "mw", "mw": 50, "of": "gpu", "ramp_years": 1.0},
    "traffic": [
        {"name": "chat", "model": "stated", "input_tokens": 2000, "output_tokens": 500, "share": 1}
    ],
    "slo": {"chat": {"ttft_p90_s": 2.0, "tpot_p90_s": 0.05}},
    "options": {
        "gpu": {
            "kind": "buy", "chip": "GB300 NVL72", "tokens_per_s_per_chip": 3000,
            "host_usd": 0, "allin_w_per_chip": "1950 to 2300",
        },
        "bridge": {
            "kind": "rent", "chip": "GB300 NVL72", "tokens_per_s_per_chip": 3000,
            "rent_usd_per_chip_hour": "2 to 3", "allin_w_per_chip": "1950 to 2300",
        },
        "own": {
            "kind": "build", "chip": "OpenAI Jalapeno", "tokens_per_s_per_chip": 3500,
            "nre_usd": "1e8 to 3e8", "months_to_tapeout": "4 to 8",
        },
    },
    "strategy": [
        {"key": "buy", "title": "Buy", "steps": [{"option": "gpu"}]},
        {"key": "rent", "title": "Rent", "steps": [{"option": "bridge"}]},
        {
            "key": "build", "title": "Build",
            "steps": [
                {"option": "bridge", "until": "own.full_volume"},
                {"option": "own"},
                {"option": "gpu", "from": "own.full_volume"},
            ],
        },
    ],
    "prior": [
        {"key": "sim", "title": "Simulated", "kind": "simulated"},
        {"key": "rate", "title": "Base rate", "kind": "advantage", "ratio": "0.5 to 1.9"},
        {"key": "word", "title": "The maker's word", "kind": "claim", "baseline": "gpu",
         "ratio": "1.5 to 1.9", "delivered": "0.6 to 1.0"},
    ],
}  # fmt: skip

BUY_ONLY = {
    "decision": {
        "start": dt.date(2026, 12, 1), "horizon_years": 5, "baseline": "buy", "headline": "rent",
        "alternative": "gpu",
    },
    "strategy": BASE["strategy"][:2],
    "prior": [],
}  # fmt: skip


def small(**changes):
    """The small scenario with dotted paths replaced ("__" for the dot); None removes a key."""
    out = copy.deepcopy(BASE)
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        node = out
        for part in parents:
            node = node[int(part)] if part.isdigit() else node.setdefault(part, {})
        if value is None:
            node.pop(last)
        else:
            node[last] = value
    return out


def buy_only(**changes):
    """A scenario without a chip of one's own."""
    out = small(**changes)
    out |= copy.deepcopy(BUY_ONLY)
    out["options"].pop("own")
    return out


def toml(value):
    """One TOML value."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, dt.date):
        return value.isoformat()
    return json.dumps(value)


def write(folder, scenario, overlays=None):
    """Write a scenario folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{json.dumps(key)} = {toml(value)}" for key, value in scenario.items()]
    (folder / "scenario.toml").write_text("\n".join(lines), encoding="utf-8")
    if overlays is not None:
        lines = [f"{json.dumps(key)} = {toml(value)}" for key, value in overlays.items()]
        (folder / "overlays.toml").write_text("\n".join(lines), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def make():
    """Builders of small scenarios."""
    return SimpleNamespace(small=small, buy_only=buy_only, write=write, base=BASE)
