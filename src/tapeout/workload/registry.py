"""Models by name: the shipped configurations, their aliases, and a user's own config.json."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from tapeout.constants import MEGA
from tapeout.errors import Problem, ProblemsError, UnknownNameError, nearest
from tapeout.workload.architecture import ModelArchitecture, NativeFormats
from tapeout.workload.blueprint import hidden_of
from tapeout.workload.config import Reader
from tapeout.workload.families import TRANSFORMERS
from tapeout.workload.formats import FORMAT_BYTES
from tapeout.workload.hybrids import HYBRIDS
from tapeout.workload.recent import RECENT

MOST_CONFIG_BYTES = int(5 * MEGA)
FAMILIES = {**TRANSFORMERS, **HYBRIDS, **RECENT}


class _Alias(NamedTuple):
    """Another name for the tensors of a shipped file, with what it sets differently."""

    name: str
    file: str
    override: Mapping[str, object]


def model_names() -> tuple[str, ...]:
    """Names of the shipped models, sorted; `load_model` knows aliases besides."""
    folder = resources.files("tapeout.workload") / "models"
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in names if name.endswith(".json")))


def model_aliases() -> dict[str, str]:
    """Other names, and the shipped model whose tensors each has."""
    return {alias.name: alias.file.removesuffix(".json") for alias in _aliases().values()}


def load_model(name: str) -> ModelArchitecture:
    """Load a shipped model by name or alias, or a configuration file by path.

    Parameters
    ----------
    name : str
        Case does not matter in a name. Anything that ends in ".json" or holds a path separator is
        read as a file: a Hugging Face config.json in UTF-8 of at most 5 MB.

    Raises
    ------
    UnknownNameError
        No model of this name; near ones are suggested.
    ProblemsError
        The file cannot be read or describes no model.
    """
    if name.endswith(".json") or "/" in name or "\\" in name:
        path = Path(name)
        return architecture_from_config(_file_label(path), _read(path))
    return _shipped(name.lower(), name)


@cache
def _shipped(key: str, asked: str) -> ModelArchitecture:
    alias = _aliases().get(key)
    file = alias.file if alias else f"{key}.json"
    names = model_names()
    if file.removesuffix(".json") not in names:
        known = [*names, *(other.name for other in _aliases().values())]
        raise UnknownNameError("model", asked, known)
    text = (resources.files("tapeout.workload") / "models" / file).read_text(encoding="utf-8")
    config = json.loads(text)
    if alias:
        config.update(alias.override)
    return architecture_from_config(alias.name if alias else key, config)


@cache
def _aliases() -> dict[str, _Alias]:
    table = resources.files("tapeout.workload") / "models" / "aliases.csv"
    rows = csv.DictReader(table.read_text(encoding="utf-8").splitlines())
    return {
        row["name"].lower(): _Alias(
            row["name"], row["file"], json.loads(row["override"]) if row["override"] else {}
        )
        for row in rows
    }


def _file_label(path: Path) -> str:
    return path.parent.name or path.stem if path.name == "config.json" else path.stem


def _read(path: Path) -> Mapping[str, object]:
    """Read a configuration file, bounded before it is opened."""
    if path.exists() and not path.is_file():
        raise _unusable(path, "", "is no regular file", "name a config.json")
    try:
        size = path.stat().st_size
        if size > MOST_CONFIG_BYTES:
            raise _unusable(
                path,
                f"{size / MEGA:,.1f} MB",
                f"larger than the limit of {MOST_CONFIG_BYTES / MEGA:.0f} MB",
                "a config.json has a few kB; was a weight file meant?",
            )
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise _unusable(path, "", error.strerror or "cannot be read", "check the path") from error
    except UnicodeDecodeError as error:
        raise _unusable(path, "", "is not UTF-8 text", "save it as UTF-8") from error
    try:
        config = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _unusable(path, "", f"is not JSON ({error})", "") from error
    if not isinstance(config, dict):
        raise _unusable(path, type(config).__name__, "a JSON object is needed", "")
    return config


def _unusable(path: Path, value: str, message: str, remedy: str) -> ProblemsError:
    problem = Problem(path=str(path), value=value, message=message, remedy=remedy)
    return ProblemsError(f"model configuration {path.name}", [problem])


def architecture_from_config(name: str, config: Mapping[str, object]) -> ModelArchitecture:
    """Build an architecture from the keys of a Hugging Face configuration.

    Parameters
    ----------
    name : str
        What to call the model.
    config : mapping
        The configuration; the language part of a multimodal one is its `text_config`.

    Raises
    ------
    ProblemsError
        Keys are missing or unusable, or the family (`model_type`) is unknown; all at once.
    """
    reader = Reader(config)
    family = _family(reader)
    if family is None:
        raise ProblemsError(f"model {name}", reader.problems)
    blueprint = FAMILIES[family](reader)
    longest = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")
    bounded = reader.get(*longest) is not None
    architecture = ModelArchitecture(
        name=name,
        family=family,
        hidden=hidden_of(reader),
        vocabulary=reader.integer("vocab_size"),
        layers=blueprint.layers,
        tied_embeddings=reader.flag("tie_word_embeddings"),
        max_context_tokens=reader.integer(*longest) if bounded else None,
        position_elements=blueprint.position_elements,
        outer_elements=blueprint.final_norm_elements + blueprint.outer_elements,
        head_bias=blueprint.head_bias,
        bidirectional=blueprint.bidirectional,
        next_token_layers=reader.integer(
            "num_nextn_predict_layers", "mtp_num_hidden_layers", default=0, low=0
        ),
        has_vision_tower=reader.flag("_has_vision_tower") or reader.has("vision_config"),
        native=_native(reader),
    )
    if reader.problems:
        unique = list(dict.fromkeys(reader.problems))
        raise ProblemsError(f"model {name}", unique)
    return architecture


def _family(reader: Reader) -> str | None:
    family = reader.text("model_type")
    if family in FAMILIES:
        return family
    near = nearest(family, FAMILIES)
    reader.note(
        "model_type",
        family or None,
        "unknown family" if family else "missing",
        f"known are {', '.join(sorted(near or FAMILIES))}; if the layers are the same as those of "
        "one, name that one",
    )
    return None


def _native(reader: Reader) -> NativeFormats:
    """Formats of the checkpoint, from `quantization_config` and `expert_dtype`."""
    settings = reader.get("quantization_config")
    narrow = reader.text("expert_dtype")
    wide = NativeFormats(expert=narrow) if narrow in FORMAT_BYTES else NativeFormats()
    if not isinstance(settings, Mapping):
        return wide
    method = settings.get("quant_method")
    if method == "mxfp4":
        return NativeFormats(weight="bf16", expert="mxfp4")
    if method == "fp8":
        # Experts of DeepSeek-V4: fp4 with one power-of-two scale for 32 elements.
        return NativeFormats(weight="fp8", expert="mxfp4" if narrow == "fp4" else "fp8")
    weights = settings.get("weights")
    if isinstance(weights, Mapping) and weights.get("num_bits") == 4:
        return NativeFormats(weight="bf16", expert="int4")
    return wide
