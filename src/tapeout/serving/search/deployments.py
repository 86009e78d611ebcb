"""The cheapest deployment within limits: everything screened, the best simulated."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tapeout.constants import HOUR_S, MEGA, Z80
from tapeout.errors import DoesNotFitError, InfeasibleError, MissingFieldError, Outcome
from tapeout.fabric import System
from tapeout.perf import Placement, heads_divide, in_words, placements, serving_formats
from tapeout.serving.engine.defaults import EngineDefaults, engine_defaults
from tapeout.serving.engine.policies import Limits, Policy, policy_named
from tapeout.serving.objectives import Objective
from tapeout.serving.replicas import silent
from tapeout.serving.search.max_load import TRIAL_REQUESTS, MaxLoad, SearchOptions, max_load
from tapeout.serving.search.prices import Price
from tapeout.serving.search.screen import Screened, cap_of, screen
from tapeout.serving.search.streams import Stream, mean_lengths
from tapeout.serving.steady import Lengths
from tapeout.serving.traffic.trace import Trace
from tapeout.serving.types import Deployment
from tapeout.workload import ModelArchitecture

SIMULATED = 8  # candidates simulated by default
STACK = "vllm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What is searched.

    Attributes
    ----------
    systems : mapping of name to System
    precisions : tuple of str or None
        None: the narrowest that is served on the chip.
    max_sequences, token_budgets : tuple of int or None
        Of a rank; None: what the engine does on the chip.
    policies : tuple of str
        The steady state does not tell them apart; each is simulated where its placement is.
    most_chips : int
        Of a replica.
    memory_fraction : float, optional
        Share of a chip's memory that the engine takes; None: what it does by default.
    """

    systems: Mapping[str, System]
    precisions: tuple[str | None, ...] = (None,)
    max_sequences: tuple[int | None, ...] = (None,)
    token_budgets: tuple[int | None, ...] = (None,)
    policies: tuple[str, ...] = ("vllm-v1",)
    most_chips: int = 64
    memory_fraction: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One deployment, screened and perhaps simulated.

    Attributes
    ----------
    chip : str
    deployment : Deployment
    screened : Screened
    price : Price, optional
    simulated : MaxLoad, optional
        None: it was not among the best of the screen.
    """

    chip: str
    deployment: Deployment
    screened: Screened
    price: Price | None = None
    simulated: MaxLoad | None = None

    @property
    def chips(self) -> int:
        """Of a replica."""
        return self.deployment.placement.chips

    @property
    def steady_per_chip(self) -> float:
        """Output tokens a second and chip in the steady state."""
        return self.screened.output_tokens_per_s / self.chips

    @property
    def per_chip(self) -> float:
        """Output tokens a second and chip: simulated where it was, else steady."""
        if self.simulated is None:
            return self.steady_per_chip
        return self.simulated.output_tokens_per_s_per_chip

    @property
    def mean_tpot_s(self) -> float:
        """Simulated where it was, else steady. [s]."""
        return self.screened.mean_tpot_s if self.simulated is None else self.simulated.mean_tpot_s

    @property
    def joule_per_output_token(self) -> float:
        """Simulated where it was, else steady. [J]."""
        found = self.screened if self.simulated is None else self.simulated
        return found.joule_per_output_token

    @property
    def band_factor(self) -> float:
        """Half width of the 80 % band of the step model, as a factor."""
        return math.exp(Z80 * self.screened.log_sd)

    @property
    def outcome(self) -> Outcome:
        """Of the simulation where there was one, else of the screen."""
        return self.screened.outcome if self.simulated is None else self.simulated.outcome

    @property
    def usd_per_mtok(self) -> float:
        """Rent of a million output tokens, the chips full at the limit; nan without a price."""
        return self.usd_at(self.per_chip)

    def usd_at(self, per_chip: float) -> float:
        """Rent of a million output tokens at a rate of a chip; nan without a price or a rate."""
        if self.price is None or not per_chip > 0.0:
            return float("nan")
        return self.price.usd_per_chip_hour / (per_chip * HOUR_S) * MEGA

    @property
    def words(self) -> str:
        """Placement and engine settings in a line."""
        own = self.deployment
        parts = [in_words(own.placement)]
        if own.policy.name != "vllm-v1":
            parts.append(own.policy.name)
        if own.max_sequences is not None:
            parts.append(f"{own.max_sequences} seqs")
        if own.token_budget is not None:
            parts.append(f"{own.token_budget} tokens")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class HowSearched:
    """How many are simulated, and with what.

    Attributes
    ----------
    search : SearchOptions
    simulated : int
        Candidates of the screen that are simulated, at least one of every chip.
    prices : mapping of chip to Price
    tell : callable
        Gets a stage ("screen", "simulate") and the share of it that is done.
    """

    search: SearchOptions = field(default_factory=SearchOptions)
    simulated: int = SIMULATED
    prices: Mapping[str, Price] = field(default_factory=dict)
    tell: Callable[[str, float], None] = silent


def search_deployments(
    model: ModelArchitecture,
    space: Space,
    stream: Stream,
    objective: Objective,
    how: HowSearched | None = None,
) -> tuple[Candidate, ...]:
    """Screen every deployment of a space and simulate the best.

    Parameters
    ----------
    model : ModelArchitecture
    space : Space
    stream : Stream
    objective : Objective
    how : HowSearched, optional

    Returns
    -------
    tuple of Candidate
        Simulated ones first, cheapest first; then the others as the screen has them.

    Raises
    ------
    InfeasibleError
        The model fits no placement of the space, or the objective has no limit.
    """
    chosen = how or HowSearched()
    if not objective.limits:
        raise InfeasibleError("a search needs limits; give --slo ttft_p90=2,tpot_p90=0.05")
    trial = stream.take(min(TRIAL_REQUESTS, stream.most))
    found: list[Candidate] = []
    for number, (name, system) in enumerate(space.systems.items()):
        price = chosen.prices.get(name)
        screened = _of_system(model, system, space, trial, objective, chosen)
        found += [replace(one, chip=name, price=price) for one in screened]
        chosen.tell("screen", (number + 1) / len(space.systems))
    if not found:
        raise InfeasibleError(f"{model.name} fits no placement of these chips")
    order = cheapest(found)
    picked = _spread_over_chips(order, chosen.simulated)
    simulated = []
    for number, one in enumerate(picked):
        answer = max_load(one.deployment, stream, objective, chosen.search)
        simulated.append(replace(one, simulated=answer))
        chosen.tell("simulate", (number + 1) / len(picked))
    taken = {id(one) for one in picked}
    rest = [one for one in order if id(one) not in taken]
    return (*cheapest(simulated), *rest)


def _of_system(
    model: ModelArchitecture,
    system: System,
    space: Space,
    trial: Trace,
    objective: Objective,
    how: HowSearched,
) -> Iterator[Candidate]:
    """Every candidate on one chip; one without peak rates has none."""
    usual = engine_defaults(system.chip)
    alike: dict[Lengths, list[Policy]] = {}  # those that cache alike are screened once
    for policy in map(policy_named, space.policies):
        alike.setdefault(mean_lengths(trial, cached=_caches(policy)), []).append(policy)
    for precision in space.precisions:
        formats = serving_formats(system.chip, model, precision, stack=STACK)
        for placement in placements(
            model, system, formats, most_chips=space.most_chips, stack=STACK
        ):
            if not heads_divide(model, placement.tensor_parallel):
                continue
            placed = _with_memory(placement, space.memory_fraction)
            for lengths, own in alike.items():
                try:
                    yield from _of_placement((placed, own), usual, space, lengths, objective, how)
                except (MissingFieldError, DoesNotFitError):
                    continue


def _caches(policy: Policy) -> bool:
    """Whether an engine finds prefixes that requests share."""
    return policy.rules(Limits(token_budget=1, max_sequences=1, kv_blocks=1)).prefix_cache


def _with_memory(placement: Placement, fraction: float | None) -> Placement:
    if fraction is None:
        return placement
    return replace(placement, memory=replace(placement.memory, usable_fraction=fraction))


def _of_placement(
    placed: tuple[Placement, Sequence[Policy]],
    usual: EngineDefaults,
    space: Space,
    lengths: Lengths,
    objective: Objective,
    how: HowSearched,
) -> Iterator[Candidate]:
    placement, policies = placed
    caps = [cap_of(placement, lengths, cap or usual.max_sequences) for cap in space.max_sequences]
    for budget in space.token_budgets:
        found = screen(
            how.search.model, placement, lengths, objective, budget or usual.token_budget, caps
        )
        for cap, one in zip(space.max_sequences, found, strict=True):
            for policy in policies:
                yield Candidate(
                    chip="",
                    deployment=Deployment(
                        placement=placement, policy=policy, max_sequences=cap,
                        token_budget=budget, memory_fraction=space.memory_fraction,
                    ),
                    screened=one,
                )  # fmt: skip


def cheapest(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Candidates in order: those that meet the objective first, then by cost.

    By USD for a token where every chip has a price, else by tokens a second and chip: without all
    prices a comparison of dollars would leave some out.
    """
    priced = all(one.price is not None for one in candidates)

    def rank(one: Candidate) -> tuple[bool, float, int, str]:
        rate = one.per_chip
        meets = one.outcome is Outcome.OK and rate > 0.0
        cost = (one.usd_per_mtok if priced else -rate) if meets else one.screened.tpot_s
        return (not meets, cost, one.chips, one.words)

    return sorted(candidates, key=rank)


def _spread_over_chips(order: Sequence[Candidate], most: int) -> list[Candidate]:
    """The best of every chip, then the best of all: a chip's only hope is not left unseen."""
    meets = [one for one in order if one.screened.outcome is Outcome.OK] or list(order)
    firsts: dict[str, Candidate] = {}
    for one in meets:
        firsts.setdefault(one.chip, one)
    picked = list(firsts.values())
    taken = {id(one) for one in picked}
    more = [one for one in meets if id(one) not in taken]
    return picked + more[: max(most - len(picked), 0)]


VALUES: Mapping[str, Callable[[Candidate], float]] = {
    "per_chip": lambda one: one.per_chip,
    "per_usd": lambda one: MEGA / one.usd_per_mtok,
    "per_joule": lambda one: 1.0 / one.joule_per_output_token,
}
"""Output tokens for what is spent: a second and chip, a dollar, a joule."""


def pareto(candidates: Sequence[Candidate], value: str) -> list[Candidate]:
    """Candidates that no other beats in both interactivity and output for what is spent.

    Parameters
    ----------
    candidates : sequence of Candidate
    value : str
        A key of `VALUES`.

    Returns
    -------
    list of Candidate
        Most interactive last; of those that meet the objective and have both figures.
    """
    worth = VALUES[value]
    known = [
        one for one in candidates
        if one.outcome is Outcome.OK and worth(one) > 0.0 and one.mean_tpot_s > 0.0
    ]  # fmt: skip
    front: list[Candidate] = []
    for one in sorted(known, key=lambda c: (c.mean_tpot_s, -worth(c))):
        if not front or worth(one) > worth(front[-1]):
            front.append(one)
    return front[::-1]
