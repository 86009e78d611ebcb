"""A scenario folder in, a checked `Scenario` out; every problem is reported at once.

A folder holds `scenario.toml`, optionally `overlays.toml` (named patches) and `catalog.toml`
(newer catalogue figures), and a README with the question. Files are data: size and encoding are
checked before they are parsed.
"""

from __future__ import annotations

import datetime as dt
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from tapeout.constants import CALENDAR_YEAR_DAYS
from tapeout.economics.option_terms import OPTION_TERMS, ROADMAP_TERMS
from tapeout.economics.sections import (
    GLOBAL_SECTIONS,
    DecisionSection,
    DemandResponseSection,
    FinanceSection,
    FutureSection,
    InstalledSection,
    Key,
    OfftakeSection,
    Option,
    PriorSection,
    ReferenceSection,
    RoadmapSection,
    ScaleSection,
    Section,
    StrategySection,
    SupplySection,
)
from tapeout.economics.term import Term
from tapeout.errors import Problem, ProblemsError, did_you_mean, nearest
from tapeout.risk.sections import CorrelationsSection
from tapeout.serving.sections import SloSection
from tapeout.workload.sections import ShiftSection, TrafficSection

SCHEMA = 1
LARGEST_BYTES = 2_000_000
_LONGEST_SHOWN = 60


class _ScenarioBase(Section):
    schema_number: int = Field(alias="schema", ge=SCHEMA, le=SCHEMA)
    title: str = Field(max_length=200)
    question: str = Field(default="", max_length=1000)
    scale: ScaleSection
    traffic: tuple[TrafficSection, ...] = Field(min_length=1)
    slo: dict[str, SloSection]
    options: dict[Key, Option] = Field(min_length=1)
    strategy: tuple[StrategySection, ...] = Field(min_length=1)
    prior: tuple[PriorSection, ...] = ()
    future: tuple[FutureSection, ...] = ()
    shifted: tuple[ShiftSection, ...] = ()
    offtake: OfftakeSection | None = None
    roadmap: RoadmapSection | None = None
    finance: FinanceSection = FinanceSection()
    demand_response: DemandResponseSection | None = None
    supply: SupplySection = SupplySection()
    installed: tuple[InstalledSection, ...] = ()
    reference: tuple[ReferenceSection, ...] = ()
    correlations: CorrelationsSection = CorrelationsSection()


def _scenario_model() -> type[BaseModel]:
    sections: dict[str, Any] = {"decision": (DecisionSection, ...)} | {
        name: (model, Field(default_factory=model)) for name, model in GLOBAL_SECTIONS.items()
    }
    return create_model("Scenario", __base__=_ScenarioBase, **sections)


Scenario = _scenario_model()


class Patch(BaseModel):
    """A named change to a scenario."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    why: Annotated[str, Field(min_length=3, max_length=500)]
    set: Annotated[dict[str, Any], Field(min_length=1)]


def json_schema() -> dict[str, Any]:
    """JSON schema of `scenario.toml`, for editors."""
    return Scenario.model_json_schema(by_alias=True)


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """Read a TOML file that somebody else wrote.

    Raises
    ------
    ProblemsError
        Missing, a folder, too large, not UTF-8, or not TOML.
    """

    def refuse(message: str, remedy: str) -> ProblemsError:
        return ProblemsError(
            what, [Problem(path=path.name, value="", message=message, remedy=remedy)]
        )

    if not path.is_file():
        raise refuse("no such file", f"a scenario is a folder with {path.name}; see `tapeout new`")
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise refuse(f"{size:,} bytes", f"at most {LARGEST_BYTES:,} are read")
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise refuse(f"not UTF-8 (byte {error.start})", "save the file as UTF-8") from None
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise refuse("nested too deeply to read", "a scenario is three levels deep") from None
    except tomllib.TOMLDecodeError as error:
        raise refuse(f"not TOML: {error}", "mend the line named") from None


def load_scenario(folder: Path, patches: tuple[str, ...] = ()) -> Any:
    """Load and check the scenario of a folder (or of a scenario.toml itself).

    Parameters
    ----------
    folder : Path
    patches : tuple of str
        Names from `overlays.toml`, applied in order.

    Returns
    -------
    Scenario

    Raises
    ------
    ProblemsError
        Every problem of shape: unknown keys with suggestions, wrong types, bad quantities.
    """
    path = folder if folder.suffix == ".toml" else folder / "scenario.toml"
    what = f"scenario {folder}"
    if not folder.exists():
        raise ProblemsError(
            what,
            [
                Problem(
                    path=str(folder),
                    value="",
                    message="no such folder",
                    remedy="make one with `tapeout new NAME`",
                )
            ],
        )
    raw = read_toml(path, what)
    if not raw:
        raise ProblemsError(
            what,
            [
                Problem(
                    path=path.name,
                    value="",
                    message="the file is empty",
                    remedy="start from `tapeout new NAME`",
                )
            ],
        )
    if patches:
        raw = _patched(raw, path.parent / "overlays.toml", patches, what)
    try:
        return Scenario.model_validate(raw)
    except ValidationError as error:
        raise ProblemsError(what, [_problem(one, raw) for one in _causes(error)]) from None


def _causes(error: ValidationError) -> list[Any]:
    """The errors without their echoes: a list whose items are wrong is reported short as well."""
    found = error.errors()
    return [
        one
        for one in found
        if one["type"] != "too_short"
        or not any(
            len(other["loc"]) > len(one["loc"]) and other["loc"][: len(one["loc"])] == one["loc"]
            for other in found
        )
    ]


def _patched(raw: dict[str, Any], path: Path, names: tuple[str, ...], what: str) -> dict[str, Any]:
    if not path.is_file():
        wanted = Problem(
            path="--patch",
            value=", ".join(names),
            message="this scenario has no named patches",
            remedy="they stand in overlays.toml beside scenario.toml",
        )
        raise ProblemsError(what, [wanted])
    table = read_toml(path, what)
    problems: list[Problem] = []
    for name in names:
        if name not in table:
            hint = did_you_mean(nearest(name, table)) or "none is defined"
            problems.append(
                Problem(
                    path=f"overlays.{name}",
                    value="",
                    message="no such overlay",
                    remedy=f"did you mean {hint}?",
                )
            )
            continue
        try:
            patch = Patch.model_validate(table[name])
        except ValidationError as error:
            problems += [
                _problem(item, table[name], f"overlays.{name}.") for item in error.errors()
            ]
            continue
        for dotted, value in patch.set.items():
            problem = _put(raw, dotted, value)
            if problem:
                problems.append(
                    Problem(path=f"overlays.{name}.{dotted}", value=_short(value), message=problem)
                )
    if problems:
        raise ProblemsError(what, problems)
    return raw


def _put(raw: dict[str, Any], dotted: str, value: Any) -> str:
    """Set a dotted path in place; return what is wrong, if anything."""
    *parents, last = dotted.split(".")
    node: Any = raw
    for part in parents:
        if isinstance(node, list):
            matches = [item for item in node if part in (item.get("key"), item.get("name"))]
            node = matches[0] if matches else None
        elif isinstance(node, dict):
            node = node.setdefault(part, {})
        if not isinstance(node, dict | list):
            return f"names nothing ({part!r} is not there)"
    if not isinstance(node, dict):
        return "names nothing"
    node[last] = value
    return ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def _problem(item: Any, raw: Mapping[str, Any], prefix: str = "") -> Problem:
    """Turn one pydantic error into a problem with a dotted path and a suggestion."""
    location = [str(part) for part in item["loc"]]
    if location[:1] == ["options"] and len(location) > 2:
        del location[2]  # the kind, by which pydantic chose among the models of an option
    path = prefix + ".".join(_named(location, raw))
    kind = item["type"]
    value = "" if kind in ("missing", "union_tag_not_found") else _short(item.get("input"))
    message, remedy = str(item["msg"]).removeprefix("Value error, "), ""
    if kind == "extra_forbidden":
        known = _known_keys(location[:-1], raw)
        hint = did_you_mean(nearest(location[-1], known))
        message, remedy = "unknown key", f"did you mean {hint}?" if hint else "remove it"
    elif kind == "missing":
        message, remedy = "missing", "add it"
    elif location == ["schema"]:
        message, remedy = f"this release reads schema {SCHEMA}", f"write schema = {SCHEMA}"
    elif kind.startswith("union_tag"):
        path = f"{path}.kind"
        value = _short(item["input"].get("kind", "")) if isinstance(item["input"], dict) else ""
        message, remedy = "kind must be one of buy, rent, build, api", 'for example kind = "buy"'
    return Problem(path=path, value=value, message=message, remedy=remedy)


def _named(location: list[str], raw: Mapping[str, Any]) -> list[str]:
    """Say which item of a list is meant by its name, as in traffic.chat.input_tokens."""
    here: Any = raw
    out = []
    for part in location:
        here = _step(here, part)
        name = here.get("name") or here.get("key") if isinstance(here, Mapping) else None
        out.append(str(name) if part.isdigit() and isinstance(name, str) else part)
    return out


def _known_keys(location: list[str], raw: Mapping[str, Any]) -> list[str]:
    """Keys that would be allowed where an unknown one stood."""
    schema = json_schema()
    node: Any = schema
    here: Any = raw
    for part in location:
        node = _descend(_deref(node, schema, here), part)
        here = _step(here, part)
    node = _deref(node, schema, here)
    return list(node.get("properties", {}))


def _step(here: Any, part: str) -> Any:
    if isinstance(here, Mapping):
        return here.get(part, {})
    if isinstance(here, list) and part.isdigit() and int(part) < len(here):
        return here[int(part)]
    return {}


def _descend(node: Any, part: str) -> Any:
    if part in node.get("properties", {}):
        return node["properties"][part]
    patterns = list(node.get("patternProperties", {}).values())  # keys of a checked shape
    extra = patterns[0] if patterns else node.get("additionalProperties")
    return node.get("items") or (extra if isinstance(extra, dict) else {})


def _deref(node: Any, schema: Any, here: Any) -> Any:
    if isinstance(node, dict) and "discriminator" in node and isinstance(here, Mapping):
        node = {"$ref": node["discriminator"]["mapping"].get(str(here.get("kind")), "")}
    if isinstance(node, dict) and "anyOf" in node:
        node = next((n for n in node["anyOf"] if "$ref" in n or "properties" in n), node)
    while isinstance(node, dict) and "$ref" in node:
        name = str(node["$ref"]).rsplit("/", 1)[-1]
        node = schema.get("$defs", {}).get(name, {})
    return node if isinstance(node, dict) else {}


def has_roadmap(scenario: Any) -> bool:
    """Whether any programme of a scenario has, or is asked about, a second own chip."""
    own = scenario.options.get("own")
    named = [step.generations for plan in scenario.strategy for step in plan.steps]
    built = getattr(own, "generations", 1)
    return scenario.roadmap is not None or any(one not in (None, 1) for one in (built, *named))


def option_terms(scenario: Any, option: Any) -> tuple[Term, ...]:
    """Inputs that an option of a scenario has; those of successors only where there are any.

    What is written stays an input all the same.
    """
    terms = OPTION_TERMS[option.kind]
    if option.kind != "build" or has_roadmap(scenario):
        return terms
    idle = {term.name for term in ROADMAP_TERMS if getattr(option, term.name) is None}
    return tuple(term for term in terms if term.name not in idle)


def years_from(start: dt.date, date: dt.date) -> float:
    """Years between two dates, negative before the start."""
    return (date - start).days / CALENDAR_YEAR_DAYS
