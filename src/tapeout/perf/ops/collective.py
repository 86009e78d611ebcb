"""Estimate of a collective operation between chips."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources

import numpy as np

from tapeout.chip.types import ChipSpec, Link
from tapeout.constants import GIGA
from tapeout.errors import InfeasibleError, UnknownNameError
from tapeout.fabric import (
    Lane,
    Library,
    RouteLaw,
    Switch,
    Topology,
    TwoLevel,
    collective_s,
    link_topology,
)
from tapeout.fabric.collectives import NIC_LATENCY_FACTOR
from tapeout.fabric.systems import NIC_BYTES_PER_S, PCIE_BYTES_PER_S
from tapeout.perf.ops.cases import Estimate, OpCase
from tapeout.perf.ops.collective_law import CollectiveConstants, Residual, can_add, form_of
from tapeout.perf.ops.store import DATA, Distance, Match, Setup, Wanted, load_setups, nearest

TABLE = "collectives"
OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv")
CUSTOM = "vllm_custom"  # one- and two-shot kernels of the engines
CUSTOM_RANKS = 8  # they run inside one domain only
ENGINES = ("vllm", "sglang", "trtllm", "tensorrt")
LIBRARY_OF_SEND = "all_gather"  # a send is a step of its ring between two ranks
SEND_LOG_SD = 0.6  # of that reading: the one published set of sends takes half as long
PORT_LOG_SD = 1.0  # of a port whose rate nobody states; one published cluster had a quarter of ours
UNMEASURED_LOG_SD = 0.4  # of a topology no measurement of ours is from; 80 % band -40/+67 %
SWITCH_ROUTE = "switch_base_s"
PORT_PLACE = 2  # colons of a topology that states the rate of its port
TWO_LEVEL = "two-level"
FORMULAS = ("ring", "torus2d", "torus3d", "mesh", "pcie", "pcie-host")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choice:
    """Laws of a library, what the one in question leaves over, how far it is from the case."""

    match: Match
    laws: Mapping[str, RouteLaw]
    residual: Residual | None


def estimate(
    case: OpCase, chip: ChipSpec, *, without: str = "", use_residual: bool = True
) -> Estimate:
    """Time of a collective.

    Parameters
    ----------
    case : OpCase
        `message_bytes` is S of reference table 2.3: the buffer of a rank for an all-reduce, the
        gathered size for an all-gather, the size before scattering for a reduce-scatter, what one
        rank sends in total for an all-to-all, the message for a send. Blank `topology`: that of
        the chip's link (without a link: PCIe); `two-level:G` or `two-level:G:GB_PER_S` for
        domains of G chips behind a port of that rate each. Blank stack: the library of the chip.
    chip : ChipSpec
        Its link rate is per direction.
    without : str
        Leave the set-ups of a chip out, to see how far the others carry.
    use_residual : bool
        False: the law alone, where measurements of the set-up exist as well.

    Raises
    ------
    InfeasibleError
        Ranks or message are blank, or the topology is unknown.
    """
    case.needs("n_chips", "message_bytes")
    if case.n_chips < 2.0 or not case.n_chips.is_integer():
        raise InfeasibleError(f"{case.op} over {case.n_chips:g} chips; a whole number from 2")
    notes: list[str] = []
    chosen = _choose(case, without, notes)
    link = _link(case, chip, notes)
    ranks, size = int(case.n_chips), case.message_bytes
    topology, formula = _topology(case, link, chosen.laws, notes)
    operation = "send" if case.op == "send_recv" else case.op
    time = float(collective_s(operation, np.array([size]), ranks, topology)[0])
    log_sd = math.hypot(chosen.match.log_sd, UNMEASURED_LOG_SD if formula else 0.0)
    if isinstance(topology, TwoLevel) and case.topology.count(":") < PORT_PLACE:
        log_sd = math.hypot(log_sd, PORT_LOG_SD)
    if case.op == "send_recv":
        log_sd = math.hypot(log_sd, SEND_LOG_SD)
    model = "collective law" if not formula else "collective formula"
    measured = chosen.residual is not None and not formula and case.op != "send_recv"
    if measured and use_residual and chosen.residual is not None:
        time *= math.exp(chosen.residual.at(size, ranks))
        model += " + residual"
    one = chosen.match.setup
    return Estimate(
        time_s=time,
        log_sd=log_sd,
        model=f"{model} {one.chip} {one.stack} {one.fitted}",
        assumptions=tuple(notes),
    )


@cache
def _residuals() -> dict[tuple[str, ...], Residual]:
    """Smoothed leftovers by (chip, stack, operation, mode)."""
    text = resources.files(DATA).joinpath(f"data/ops/{TABLE}.json").read_text("utf-8")
    return {
        (one["chip"], one["stack"], one["kernel"], one["mode"]): Residual(
            first_log2_bytes=one["residual"]["first_log2_bytes"],
            ranks=tuple(one["residual"]["ranks"]),
            log_ratio=tuple(tuple(row) for row in one["residual"]["log_ratio"]),
        )
        for one in json.loads(text)["setups"]
    }


@cache
def _borrowed_log_sd() -> float:
    """Spread of estimates from other chips, from leaving chips out of the fit part."""
    text = resources.files(DATA).joinpath(f"data/ops/{TABLE}.json").read_text("utf-8")
    return float(json.loads(text)["borrowed_log_sd"])


def stack_of(case: OpCase, notes: list[str]) -> str:
    """Communication stack of a case: as named, else what its engine or kernel would use."""
    if case.stack and not case.stack.startswith(ENGINES):
        return case.stack
    if case.stack.startswith(CUSTOM) or case.kernel == CUSTOM:
        return case.stack if case.stack.startswith(CUSTOM) else CUSTOM
    if case.stack and case.op == "all_reduce" and case.n_chips <= CUSTOM_RANKS:
        notes.append(f"{case.stack}: its own all-reduce kernel, up to {CUSTOM_RANKS} chips")
        return CUSTOM
    notes.append("stack: the general library of the chip's vendor")
    return ""


def _choose(case: OpCase, without: str, notes: list[str]) -> _Choice:
    stack = stack_of(case, notes)
    operation = LIBRARY_OF_SEND if case.op == "send_recv" else case.op
    custom = stack.startswith(CUSTOM) and operation == "all_reduce"
    if not case.mode:
        notes.append("mode blank: graph")
    # A library has no eager form of its own here: it was timed back to back, without host gaps.
    mode = (case.mode or "graph") if custom else "graph"
    wanted = Wanted(chip=case.chip, stack=stack, mode=mode)
    match = _match(operation, wanted, without, custom=custom)
    if match.distance > Distance.OTHER_STACK:
        match = replace(match, log_sd=max(match.log_sd, _borrowed_log_sd()))
    if match.assumption:
        notes.append(match.assumption)
    if operation != case.op:
        notes.append("send: the step of an all-gather between two ranks")
    library = replace(wanted, stack="" if custom else stack, mode="graph")
    setups = {name: _match(name, library, without).setup for name in OPERATIONS[:4]}
    one = match.setup
    laws = {name: _law(setup, case.dtype) for name, setup in (setups | {operation: one}).items()}
    if not case.dtype:
        notes.append("dtype blank: bf16")
    return _Choice(
        match=match,
        laws=laws,
        residual=(
            _residuals().get((one.chip, one.stack, one.kernel, one.mode))
            if one.chip == case.chip  # what a law leaves over does not carry to other silicon
            else None
        ),
    )


def _match(operation: str, wanted: Wanted, without: str, *, custom: bool = False) -> Match:
    """Set-up of one operation; in a blend the switch adds only if it does on every chip of it."""
    some = [
        one
        for one in load_setups(TABLE)
        if one.kernel == operation and one.stack.startswith(CUSTOM) == custom
    ]
    match = nearest(some, wanted, without=without)
    chips = match.setup.chip.split(" + ")
    if all(SWITCH_ROUTE in one.constants for one in some if one.chip in chips):
        return match
    kept = {n: v for n, v in match.setup.constants.items() if not n.startswith("switch_")}
    return replace(match, setup=replace(match.setup, constants=kept))


def _law(setup: Setup, dtype: str) -> RouteLaw:
    constants = CollectiveConstants(form=form_of(setup.constants), values=setup.constants)
    law = constants.law()
    return law if can_add(dtype) else law.without_adding()


def _link(case: OpCase, chip: ChipSpec, notes: list[str]) -> Link:
    """Link the ranks talk over; PCIe for a chip that has none."""
    links = [one for one in chip.links if one.bytes_per_s > 0.0]
    for link in links:
        if case.n_chips <= link.chips:
            return link
    if links:
        return links[-1]
    notes.append(f"{chip.name} has no scale-up link: PCIe at {PCIE_BYTES_PER_S / GIGA:g} GB/s")
    return Link(name="PCIe", bytes_per_s=PCIE_BYTES_PER_S, chips=8, topology="pcie")


def _topology(
    case: OpCase, link: Link, laws: Mapping[str, RouteLaw], notes: list[str]
) -> tuple[Topology, bool]:
    """Topology, and whether it is a closed form that no measurement of ours has checked."""
    name, _, rest = (case.topology or link.topology).partition(":")
    if not case.topology:
        notes.append(f"topology blank: {link.topology} ({link.name})")
    law = laws[LIBRARY_OF_SEND if case.op == "send_recv" else case.op]
    inside: Topology
    if name in {"switch", TWO_LEVEL}:
        inside = Library(bytes_per_s=link.bytes_per_s, laws=laws)
    elif name in FORMULAS:
        inside = link_topology(name, _lane(link.bytes_per_s, law), link.chips)
        notes.append(f"{name}: closed form with the rate and step time of the set-up")
    else:
        raise UnknownNameError("topology", name, ("switch", TWO_LEVEL, *FORMULAS))
    wide = case.n_chips > link.chips
    if name != TWO_LEVEL and not wide:
        return inside, name != "switch"
    chips, port = _domain(rest, link.chips if name != TWO_LEVEL else 0)
    notes.append(
        f"domains of {chips} behind {port / GIGA:g} GB/s a chip, steps three times as long"
    )
    outer = Switch(lane=_outer_lane(port, law), direct=False)
    return TwoLevel(inner=inside, outer=outer, chips_per_domain=chips), True


def _domain(text: str, default: int) -> tuple[int, float]:
    """Chips and port rate of "G" or "G:GB_PER_S"."""
    chips, _, port = text.partition(":")
    try:
        found = int(chips) if chips else default
        rate = float(port) * GIGA if port else NIC_BYTES_PER_S
    except ValueError:
        found, rate = 0, 0.0
    if found < 1 or not rate > 0.0:
        raise InfeasibleError(f"topology {TWO_LEVEL}:{text!r}; write {TWO_LEVEL}:8 or :8:50")
    return found, rate


def _lane(bytes_per_s: float, law: RouteLaw) -> Lane:
    """Rate and step time of the set-up's fastest and quickest routes."""
    routes = law.routes
    return Lane(
        bytes_per_s=bytes_per_s * min(1.0, max(one.rate_fraction for one in routes)),
        latency_s=min(one.base_s + one.hop_s for one in routes),
    )


def _outer_lane(port: float, law: RouteLaw) -> Lane:
    inside = _lane(port, law)
    return replace(inside, latency_s=NIC_LATENCY_FACTOR * inside.latency_s)
