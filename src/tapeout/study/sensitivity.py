"""What to find out first: the worth of information and shares of variance, by subject."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapeout.economics.schedule import OWN
from tapeout.economics.types import Inputs
from tapeout.numerics import BLOCK, Draws, Floats, Ints
from tapeout.risk import SCRAMBLES
from tapeout.risk.copula import Group, conditional
from tapeout.risk.information import Value, evpi, expected, worth_of_choice
from tapeout.risk.registry import column
from tapeout.risk.sensitivity import Shares, analyse, matched, mix
from tapeout.risk.sensitivity.indices import Bools
from tapeout.risk.sobol import uniforms
from tapeout.study.evaluate import Problem, run
from tapeout.study.futures import UNIFORMS, Sampler
from tapeout.study.statistics import concatenate

ROWS_LOG2 = 10  # points of the analysis of variance; each costs 1 + 3 subjects evaluations
MOST_DRAWS = 65_536  # that information is valued on; more would only cost memory
_OTHER_SEED = 1_000_003  # of the points that share nothing with the first

# what the programme draws by chance acts through these model inputs
CHANCES = {
    "schedule": (f"{OWN}.slip_months", f"{OWN}.spins", f"{OWN}.cancelled"),
    "shift": (f"{OWN}.shift_years", f"{OWN}.shift_ratio"),
}

# Noise of the two studies, standard deviation of the logarithm of a throughput ratio. Both are
# assumptions: a benchmark by others runs a public workload, not one's own, on early software;
# first silicon in the owner's racks runs the owner's traffic, with software still improving.
BENCHMARK_LOG_SD = 0.15
SILICON_LOG_SD = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Inputs that one inquiry would settle together.

    `fields` are the last part of an input's path, or a whole section written `section.`;
    `kinds` restricts options to these kinds.
    """

    key: str
    title: str
    fields: tuple[str, ...]
    kinds: tuple[str, ...] = ()


_BOUGHT = ("buy", "rent", "api")
SUBJECTS = (
    Subject(
        key="throughput",
        title="Throughput the own chip delivers",
        fields=("delivered_ratio", "timing_ratio", "tokens_per_s_per_chip"),
        kinds=("build",),
    ),
    Subject(
        key="schedule",
        title="Schedule and survival of the own chip",
        fields=(
            "late_fraction",
            "slip_if_late_months",
            "first_silicon_fraction",
            "later_spin_fraction",
            "spin_months",
            "cancellation_fraction",
            "qualification_months",
            "months_to_tapeout",
            "ramp_years",
            "sales_window_years",
        ),
        kinds=("build",),
    ),
    Subject(
        key="software",
        title="Software and porting",
        fields=(
            "software.",
            "software_usd_per_year",
            "software_ramp_years",
            "eligible_fraction",
            "maturity_start_fraction",
            "maturity_years",
            "port_start_fraction",
            "port_usd",
            "port_usd_per_year",
            "port_usd_per_release",
            "model_families",
            "usd_per_family_year",
            "day0_coverage_fraction",
            "port_lag_months",
            "traffic_model_age_months",
            "context_eligible_fraction",
            "modality_eligible_fraction",
        ),
    ),
    Subject(key="shift", title="Shift of the workload", fields=("shift.",)),
    Subject(key="demand", title="Demand", fields=("demand.",)),
    Subject(key="rival", title="Rival generations", fields=("rival.",)),
    Subject(
        key="rivals-throughput",
        title="Throughput of bought and rented chips",
        fields=("timing_ratio", "tokens_per_s_per_chip"),
        kinds=_BOUGHT,
    ),
    Subject(
        key="rents",
        title="Rent market",
        fields=(
            "rent_usd_per_chip_hour",
            "capital_usd_per_w",
            "hall_fraction",
            "rent_drift_per_year",
            "rent_volatility_ratio",
            "rent_reversion_per_year",
            "rent_over_owner_cost_ratio",
            "rent.",
            "cloud_margin_fraction",
            "price_usd_per_mtok",
        ),
    ),
    Subject(
        key="prices",
        title="Prices of bought chips",
        fields=(
            "price_usd",
            "negotiated_discount_fraction",
            "server_cost_fraction",
            "network_cost_fraction",
            "rebate_lost_fraction",
        ),
    ),
    Subject(key="parts", title="Wafers, memory and packages", fields=("parts.",)),
    Subject(key="worth", title="Worth of a token", fields=("value.", "drift.")),
    Subject(key="money", title="Discount rate", fields=("decision.",)),
    Subject(
        key="site",
        title="Site, fleet and operation",
        fields=("site.", "operations.", "fleet.", "market."),
    ),
    Subject(
        key="programme",
        title="Cost of the own chip and its programme",
        fields=(),
        kinds=("build",),
    ),
    Subject(key="racks", title="Racks, power and life of what is bought or rented", fields=()),
)


def subject_of(path: str, kinds: Mapping[str, str]) -> str:
    """Key of the subject an input belongs to: the first that claims it, the last takes the rest."""
    if path.startswith(("build.", "shift.")) and path in UNIFORMS:
        return "shift" if path.startswith("shift.") else "schedule"
    section, *rest = path.split(".")
    kind = kinds.get(rest[0], "") if section == "options" else ""
    for subject in SUBJECTS:
        named = not subject.fields or rest[-1] in subject.fields or f"{section}." in subject.fields
        if named and (not subject.kinds or kind in subject.kinds):
            return subject.key
    return SUBJECTS[-1].key


def information(
    problem: Problem,
    sampler: Sampler,
    draws: Draws,
    cost: Mapping[str, Floats],
    moved: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Value of information on the futures of a study, and shares of variance beside it.

    Parameters
    ----------
    problem, sampler
    draws : Draws
        The study's own.
    cost : mapping of strategy to array, shape (draw,)
        Present cost of each strategy in each draw. [USD]
    moved : list of dict
        Rows of the tornado.

    Returns
    -------
    rows, facts
        The tornado with the worth of knowing each input; and perfect information, subjects and
        studies for the verdict.
    """
    draws, cost = _thinned(draws, cost)
    values = sampler.table(draws)
    inputs = sampler.inputs(values)
    choices = _Choices.of(problem, cost, draws.scramble)

    def learnt(path: str) -> Floats:
        found = values[path] if path in values else inputs.flat(path)
        return np.broadcast_to(found, (len(draws),))

    members = _members(sampler)
    if not members:
        return moved, {}
    worth = {
        key: choices.knowing([learnt(path) for path in _learnable(key, members[key], sampler)])
        for key in members
    }
    saving, decision = _variance(problem, sampler, members, draws)
    titles = {subject.key: subject.title for subject in SUBJECTS}
    subjects = [
        {"key": key, "title": titles[key], "inputs": len(members[key])}
        | _stated("evppi", worth[key])
        | _shares("saving", saving, index)
        | _shares("decision", decision, index)
        for index, key in enumerate(members)
    ]
    ordered = sorted(
        zip(worth.values(), subjects, strict=True),
        key=lambda one: (-one[0][0].mean, -one[0][1].mean),
    )
    facts = _stated("evpi", choices.knowing_all()) | {
        "rows": min(len(draws), 1 << ROWS_LOG2),
        "subjects": [one for _, one in ordered],
        "studies": _studies(problem, draws, inputs, choices),
    }
    rows = [
        row
        | {"subject": subject_of(row["path"], sampler.kinds)}
        | _stated("evppi", choices.knowing([learnt(row["path"])]))
        for row in moved
    ]
    return rows, facts


def _thinned(draws: Draws, cost: Mapping[str, Floats]) -> tuple[Draws, Mapping[str, Floats]]:
    """The first draws of every scramble, at most `MOST_DRAWS` in all."""
    if len(draws) <= MOST_DRAWS:
        return draws, cost
    each, wanted = len(draws) // SCRAMBLES, MOST_DRAWS // SCRAMBLES
    keep = np.flatnonzero(np.arange(len(draws)) % each < wanted)
    values = {name: draws[name][keep] for name in draws.values}
    thin = Draws(values=values, seed=draws.seed, scramble=draws.scramble[keep])
    return thin, {key: usd[keep] for key, usd in cost.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Choices:
    """The two choices that information may change: of all strategies, and of the pair."""

    utility: Floats
    pair: tuple[int, int]
    scramble: Ints

    @classmethod
    def of(cls, problem: Problem, cost: Mapping[str, Floats], scramble: Ints) -> _Choices:
        keys = list(cost)
        pair = (keys.index(problem.baseline), keys.index(problem.headline))
        return cls(utility=-np.stack(list(cost.values()), axis=1), pair=pair, scramble=scramble)

    def knowing_all(self) -> tuple[Value, Value]:
        """Worth of perfect information."""
        pair = self.utility[:, self.pair]
        return evpi(self.utility, self.scramble), evpi(pair, self.scramble)

    def knowing(self, columns: list[Floats]) -> tuple[Value, Value]:
        """Worth of knowing some columns; one regression serves both choices."""
        believed = expected(self.utility, columns, self.scramble)
        return (
            worth_of_choice(self.utility, believed, self.scramble),
            worth_of_choice(self.utility[:, self.pair], believed[:, self.pair], self.scramble),
        )


def _stated(name: str, worth: tuple[Value, Value]) -> dict[str, float]:
    """A value among all strategies and between the pair, each with its error."""
    one, pair = worth
    return {
        f"{name}_usd": one.mean,
        f"{name}_se_usd": one.se,
        f"{name}_pair_usd": pair.mean,
        f"{name}_pair_se_usd": pair.se,
    }


def _shares(name: str, shares: Shares, index: int) -> dict[str, float]:
    out = {}
    for kind in ("first", "total", "shapley"):
        found = getattr(shares, kind)
        out[f"{name}_{kind}"] = float(found.share[index])
        out[f"{name}_{kind}_se"] = float(found.se[index])
    return out


def _members(sampler: Sampler) -> dict[str, tuple[str, ...]]:
    """Uncertain inputs of each subject that has any, and the chances of the programme."""
    found: dict[str, list[str]] = {subject.key: [] for subject in SUBJECTS}
    chances = (*(UNIFORMS if sampler.has_own else ()), *sampler.shocks)
    for path in (*sampler.columns, *chances):
        found[subject_of(path, sampler.kinds)].append(path)
    return {key: tuple(paths) for key, paths in found.items() if paths}


def _learnable(key: str, paths: tuple[str, ...], sampler: Sampler) -> tuple[str, ...]:
    """What would be known of a subject: its inputs, and how its tosses fall."""
    known = tuple(path for path in paths if path not in sampler.tosses)
    return known + (CHANCES.get(key, ()) if sampler.has_own else ())


# --- analysis of variance ---


def _variance(
    problem: Problem, sampler: Sampler, members: Mapping[str, tuple[str, ...]], draws: Draws
) -> tuple[Shares, Shares]:
    """Shares of the saving's variance, and of that of whether it is positive."""
    copies = _Copies.drawn(sampler, members, min(ROWS_LOG2, int(np.log2(len(draws)))), draws.seed)

    def outcomes(shared: Bools) -> Floats:
        cases, _, rows = shared.shape
        step = max(1, BLOCK // rows)
        parts = [
            _saving(problem, sampler.inputs(copies.table(sampler, shared[i : i + step])))
            for i in range(0, cases, step)
        ]
        saving = concatenate(parts).reshape(cases, rows)
        return np.stack([saving, (saving > 0).astype(np.float64)])

    saving, decision = analyse(outcomes, len(members), copies.scramble, draws.seed)
    return saving, decision


def _saving(problem: Problem, inputs: Inputs) -> Floats:
    base, head = (run(problem, key, inputs)[0] for key in (problem.baseline, problem.headline))
    saving: Floats = base.npv_usd - head.npv_usd
    return saving


@dataclass(frozen=True, slots=True, kw_only=True)
class _Copies:
    """Two independent sets of points; correlated drivers are completed across them.

    `joint` holds the groups of correlated drivers, with the normal scores of the first set and
    independent ones, from which what is not shared is drawn given what is.
    """

    one: Mapping[str, Floats]
    other: Mapping[str, Floats]
    joint: tuple[_Joint, ...]
    group: Mapping[str, int]
    scramble: Ints

    @classmethod
    def drawn(
        cls, sampler: Sampler, members: Mapping[str, tuple[str, ...]], log2: int, seed: int
    ) -> _Copies:
        one, other = sampler.draw(log2, seed), sampler.draw(log2, seed + _OTHER_SEED)
        order = matched(one.scramble, seed)
        driver = dict(sampler.columns) | {name: name for name in sampler.tosses}
        group: dict[str, int] = {}
        for index, paths in enumerate(members.values()):
            for path in paths:
                group.setdefault(driver[path], index)
        return cls(
            one=one.values,
            other={name: values[order] for name, values in other.values.items()},
            joint=tuple(
                _Joint.of(one_group, group, (log2, seed), order)
                for one_group in sampler.copula.groups
            ),
            group=group,
            scramble=one.scramble,
        )

    def table(self, sampler: Sampler, shared: Bools) -> dict[str, Floats]:
        """Columns by path: the first set where its group is shared, else drawn given it.

        `shared` is (case, group, row), columns are (case and row,).
        """
        cases = len(shared)
        fresh = dict(self.other)
        for one in self.joint:
            fresh |= one.completed(sampler, shared)
        drawn = {}
        for name, values in self.one.items():
            if name in self.group:
                mixed = mix(shared[:, self.group[name]], values, fresh[name])
            else:
                mixed = np.broadcast_to(values, (cases, values.size))
            drawn[name] = mixed.reshape(-1)
        values_of = {path: np.array([value]) for path, value in sampler.fixed.items()}
        values_of |= {path: drawn[name] for path, name in sampler.columns.items()}
        return values_of | {name: drawn[name] for name in sampler.tosses}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Joint:
    """A group of correlated drivers: scores of the first set and fresh ones, (driver, row)."""

    group: Group
    subject: Ints
    scores: Floats
    fresh: Floats

    @classmethod
    def of(
        cls,
        group: Group,
        subjects: Mapping[str, int],
        how: tuple[int, int],
        order: Ints,
    ) -> _Joint:
        from scipy.special import ndtri  # noqa: PLC0415 - heavy to import

        log2, seed = how
        numbers = [column(name) for name in group.names]
        own = np.stack([ndtri(uniforms(number, log2, seed)) for number in numbers])
        new = [ndtri(uniforms(number, log2, seed + _OTHER_SEED)[order]) for number in numbers]
        return cls(
            group=group,
            subject=np.array([subjects[name] for name in group.names]),
            scores=group.factor @ own,
            fresh=np.stack(new),
        )

    def completed(self, sampler: Sampler, shared: Bools) -> dict[str, Floats]:
        """Drivers of the group drawn given those that are shared, each (case, row)."""
        from scipy.special import ndtr  # noqa: PLC0415 - heavy to import

        subjects = np.unique(self.subject)
        code = (shared[:, subjects] * (1 << np.arange(subjects.size))[None, :, None]).sum(axis=1)
        scores = np.zeros((len(self.group.names), *code.shape))
        for pattern in np.unique(code):
            known = np.flatnonzero(pattern >> np.searchsorted(subjects, self.subject) & 1)
            others, drawn = conditional(self.group, known.tolist(), self.scores, self.fresh)
            case, row = np.nonzero(code == pattern)
            for place, values in zip(others, drawn, strict=True):
                scores[place, case, row] = values[row]
        laws = sampler.distributions
        uniform = np.clip(ndtr(scores), 2.0**-53, 1.0 - 2.0**-53)
        return {name: laws[name].ppf(uniform[i]) for i, name in enumerate(self.group.names)}


# --- two studies one may buy ---


def _studies(
    problem: Problem, draws: Draws, inputs: Inputs, choices: _Choices
) -> list[dict[str, Any]]:
    """What an independent benchmark and first silicon are worth before choosing."""
    if not problem.builds:
        return []
    own = inputs.flat(f"{OWN}.delivered_ratio") * inputs.flat(f"{OWN}.timing_ratio")
    there = inputs.flat(f"options.{problem.alternative}.timing_ratio")
    size = (len(draws),)
    raw = np.random.Generator(np.random.PCG64(np.random.SeedSequence(draws.seed)))
    noise = raw.standard_normal((2, *size))
    ratio = np.broadcast_to(np.log(own / there), size)
    silicon = np.broadcast_to(np.log(own), size) + SILICON_LOG_SD * noise[1]
    dates = [np.broadcast_to(inputs.flat(path), size) for path in CHANCES["schedule"]]
    made = (
        (
            "benchmark",
            "Buy an independent benchmark",
            "own chip's tokens per chip over the alternative's, "
            f"within {BENCHMARK_LOG_SD:.0%} (one standard deviation)",
            BENCHMARK_LOG_SD,
            [ratio + BENCHMARK_LOG_SD * noise[0]],
        ),
        (
            "silicon",
            "Wait for silicon",
            f"own chip's tokens per chip within {SILICON_LOG_SD:.0%}, its date, its steppings, "
            "and whether the programme lives",
            SILICON_LOG_SD,
            [silicon, *dates],
        ),
    )
    return [
        {"key": key, "title": title, "reports": reports, "noise_log_sd": sd}
        | _stated("evsi", choices.knowing(results))
        for key, title, reports, sd, results in made
    ]
