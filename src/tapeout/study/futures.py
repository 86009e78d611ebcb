"""Joint futures: every resolved input with a range is drawn, then turned into model inputs."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from tapeout.constants import YEAR_HOURS
from tapeout.economics.levelised import energy_usd_per_year
from tapeout.economics.prices import (
    LOG_ERROR,
    LOG_RENT,
    LONGEST_YEARS,
    recovery_factor,
    yearly_paths,
)
from tapeout.economics.schedule import OWN
from tapeout.economics.software import RELEASES, coverage_fraction
from tapeout.economics.terms import GLOBAL_TERMS, OPTION_TERMS, PRICE_DRIFTS, Sign
from tapeout.economics.types import Inputs
from tapeout.numerics import Draws, Floats
from tapeout.risk import (
    POOLED_AUTOCORRELATION,
    SCRAMBLES,
    Columns,
    Copula,
    Distribution,
    TwoPieceNormal,
    Uniform,
    driver_name,
    extra_spins,
    from_figure,
    log_errors,
    reverting_path,
    sample,
    shocks_needed,
)
from tapeout.sources import Ledger

RETICLE_MM2 = 858.0  # largest die one exposure prints; a larger package is several dies
WAFER_MM2 = 70_686.0  # 300 mm disc
WAFER_USE = 0.9  # after edge and scribe lines, for dies of this size
MOST_SPINS = 4  # a funded team fixes its silicon or stops
# growth of a normal draw may fall below -1, at which nothing is left to grow; assumption
STEEPEST_FALL = -0.95

UNIFORMS = ("build.late", "build.spins", "build.cancelled", "shift.time", "shift.kind")
_RENT_SHOCKS = tuple(driver_name("rent.shock", year) for year in range(LONGEST_YEARS))
_BY_CHIP = ("timing_ratio", "allin_w_per_chip", "memory_gb", "die_area_mm2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampler:
    """Distributions of a resolved scenario, and how their columns become model inputs.

    Attributes
    ----------
    ledger : Ledger
    columns : mapping of path to driver name
        Every path that is drawn.
    distributions : mapping of driver name to Distribution
    fixed : mapping of path to float
        Paths without a range.
    kinds : mapping of option key to kind
    shift_ratios : array, shape (shift,)
        Own chip's throughput over the alternative's on each shifted workload, relative to today's.
    reference_lcot_usd_per_mtok : float
        Central levelised cost of the alternative at the decision; revenue is a markup on it.
    copula : Copula
        Which drivers are drawn together.
    """

    ledger: Ledger
    columns: Mapping[str, str]
    distributions: Mapping[str, Distribution]
    fixed: Mapping[str, float]
    kinds: Mapping[str, str]
    shift_ratios: Floats
    reference_lcot_usd_per_mtok: float = 1.0
    copula: Copula = field(default_factory=Copula)

    @property
    def shocks(self) -> tuple[str, ...]:
        """Drivers of the paths of token prices and of rents, where the scenario has any."""
        return tuple(name for name in self.distributions if name.startswith(("drift.", "rent.")))

    @property
    def tosses(self) -> tuple[str, ...]:
        """Uniform draws that are no input: the programme's coin tosses and shocks to prices."""
        return (*UNIFORMS, *self.shocks)

    @property
    def has_own(self) -> bool:
        """Whether the scenario has a chip of its own."""
        return "build" in self.kinds.values()

    def draw(self, draws_log2: int, seed: int, part: tuple[int, int] | None = None) -> Draws:
        """Sample all columns jointly; `part` (start, stop) samples only these draws."""
        return self._sample(self.distributions, draws_log2, seed, part)

    def lazy(self, draws_log2: int, seed: int) -> Draws:
        """The same draws, every column made when it is asked for and not kept."""

        def column(name: str) -> Floats:
            # with the column that a driven one follows, which sampling asks for by name
            return self._sample({name: self.distributions[name]}, draws_log2, seed, None)[name]

        size = 1 << draws_log2
        return Draws(
            values=Columns(list(self.distributions), column),
            seed=seed,
            scramble=np.arange(size) // (size // SCRAMBLES),
        )

    def _sample(
        self,
        distributions: Mapping[str, Distribution],
        draws_log2: int,
        seed: int,
        part: tuple[int, int] | None,
    ) -> Draws:
        return sample(distributions, draws_log2, seed, correlations=self.copula, part=part)

    def medians(self, rows: int = 1) -> dict[str, Floats]:
        """Every path at its central value, and the coin tosses at theirs.

        A programme is taken to run on schedule unless a caller says otherwise: no slip, the
        expected number of extra steppings rounded, not cancelled, no shift.
        """
        values = {path: np.full(rows, entry) for path, entry in self.fixed.items()}
        values |= {path: np.full(rows, self.ledger[path].chosen.value) for path in self.columns}
        centre = {
            "build.late": 1.0,
            "build.spins": 0.5,
            "build.cancelled": 1.0,
            "shift.time": 1.0,
            "shift.kind": 0.0,
        }
        return values | {name: np.full(rows, centre.get(name, 0.5)) for name in self.tosses}

    def table(self, draws: Draws) -> dict[str, Floats]:
        """Columns of a draw by path."""
        values: dict[str, Floats] = {p: np.array([v]) for p, v in self.fixed.items()}
        values |= {path: draws[name] for path, name in self.columns.items()}
        return values | {name: draws[name] for name in self.tosses}

    def inputs(self, values: Mapping[str, Floats]) -> Inputs:
        """Turn primitive columns into the inputs of the money model."""
        out = dict(values)
        uniform = {name: out.pop(name) for name in UNIFORMS}
        shocks = {name: out.pop(name) for name in self.shocks}
        _token_price(out, shocks)
        _rents(out, shocks)
        pue = self.ledger["site.pue_ratio"].chosen.value
        for key, kind in self.kinds.items():
            path = f"options.{key}"
            if kind == "api":
                continue
            # all-in power is quoted at the meter; the model wants IT power and its own PUE
            out[f"{path}.it_w_per_chip"] = out.pop(f"{path}.allin_w_per_chip") / pue
            if kind in ("buy", "build"):
                _parts(out, path, kind)
            if kind in ("rent", "build"):
                _software(out, path, kind)
            if kind == "rent" and f"{path}.rent_usd_per_chip_hour" not in out:
                out[f"{path}.rent_usd_per_chip_hour"] = _built_rent(out, path)
        out.pop("software.releases_per_year", None)
        markup = out.pop("value.markup_ratio")
        if "value.usd_per_mtok" not in out:
            out["value.usd_per_mtok"] = markup * self.reference_lcot_usd_per_mtok
        if self.has_own:
            self._programme(out, uniform)
        return Inputs({p: v for p, v in out.items() if not p.startswith("parts.")})

    def _programme(self, out: dict[str, Floats], uniform: Mapping[str, Floats]) -> None:
        late = uniform["build.late"] < out.pop(f"{OWN}.late_fraction")
        out[f"{OWN}.slip_months"] = late * out.pop(f"{OWN}.slip_if_late_months")
        out[f"{OWN}.spins"] = extra_spins(
            uniform["build.spins"],
            out.pop(f"{OWN}.first_silicon_fraction"),
            out.pop(f"{OWN}.later_spin_fraction"),
            cap=MOST_SPINS,
        )
        cancelled = uniform["build.cancelled"] < out.pop(f"{OWN}.cancellation_fraction")
        out[f"{OWN}.cancelled"] = cancelled.astype(np.float64)
        hazard = np.maximum(out.pop("shift.hazard_per_year"), 1e-9)
        # the survival function at the draw: u near one is an early shift
        survived = np.clip(1.0 - uniform["shift.time"], 1e-12, 1.0)
        never = uniform["shift.time"] >= 1.0
        out[f"{OWN}.shift_years"] = np.where(never, 1e6, -np.log(survived) / hazard)
        count = self.shift_ratios.size
        index = np.minimum((uniform["shift.kind"] * count).astype(np.int64), count - 1)
        out[f"{OWN}.shift_ratio"] = self.shift_ratios[index]


def derivations(kinds: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Model inputs that are computed from resolved ones, and what each is computed from.

    `tapeout show` follows these from a resolved number to the lines it moves; a test perturbs
    every resolved number and checks that exactly these move.
    """
    wafer = ("parts.wafer_usd", "parts.die_yield_fraction")
    out: dict[str, tuple[str, ...]] = {}
    for key, kind in kinds.items():
        path = f"options.{key}"
        if kind == "api":
            continue
        out[f"{path}.it_w_per_chip"] = (f"{path}.allin_w_per_chip",)
        if kind in ("buy", "build"):
            die = (f"{path}.die_area_mm2", *wafer)
            memory = (f"{path}.memory_gb", "parts.hbm_usd_per_gb")
            package = ("parts.packaging_usd", "parts.packaging_yield_fraction")
            out[f"{path}.die_usd"] = die
            out[f"{path}.memory_usd"] = memory
            out[f"{path}.packaging_usd"] = (*package, *die, *memory)
        if kind == "build":
            out[f"{path}.test_usd"] = ("parts.test_usd",)
        if kind == "rent":
            out[f"{path}.rent_usd_per_chip_hour"] = (
                f"{path}.capital_usd_per_w",
                f"{path}.hall_fraction",
                f"{path}.life_years",
                f"{path}.allin_w_per_chip",
                *_BUILT_RENT,
            )
    if "build" in kinds.values():
        out |= {
            f"{OWN}.slip_months": (f"{OWN}.late_fraction", f"{OWN}.slip_if_late_months"),
            f"{OWN}.spins": (f"{OWN}.first_silicon_fraction", f"{OWN}.later_spin_fraction"),
            f"{OWN}.cancelled": (f"{OWN}.cancellation_fraction",),
            f"{OWN}.shift_years": ("shift.hazard_per_year",),
        }
    return out | {
        "value.usd_per_mtok": ("value.markup_ratio",),
        "value.decline_per_year": tuple(f"value.{name}_decline_per_year" for name in PRICE_DRIFTS),
    }


_BUILT_RENT = (
    "decision.discount_rate",
    "site.life_years",
    "operations.fraction_per_year",
    "site.pue_ratio",
    "site.usd_per_kwh",
    "site.idle_power_fraction",
    "site.mean_power_fraction",
    "demand.peak_to_mean_ratio",
    "demand.fill_fraction",
    "market.cloud_margin_fraction",
)


def model_paths(path: str, kinds: Mapping[str, str], stated: Container[str]) -> set[str]:
    """Model inputs through which a resolved number acts: itself, and what is derived from it.

    An input the scenario states is not derived.
    """
    through = {
        derived
        for derived, sources in derivations(kinds).items()
        if path in sources and derived not in stated
    }
    return through | {path} | {to for to, by in adjustments(kinds).items() if path in by}


def adjustments(kinds: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Resolved inputs that others change before the model reads them, and by which."""
    releases = "software.releases_per_year"
    errors: tuple[str, ...] = (
        *(f"value.{name}_innovation_sd" for name in PRICE_DRIFTS),
        "value.observed_changes",
        "value.autocorrelation_fraction",
    )
    swings: tuple[str, ...] = (
        "market.rent_volatility_ratio",
        "market.rent_reversion_per_year",
        "market.rent_over_owner_cost_ratio",
    )
    out: dict[str, tuple[str, ...]] = {}
    out |= dict.fromkeys(yearly_paths(LOG_ERROR), errors)
    out |= dict.fromkeys(yearly_paths(LOG_RENT), swings)
    for key, kind in kinds.items():
        path = f"options.{key}"
        if kind == "rent":
            out[f"{path}.port_usd_per_year"] = (releases, f"{path}.port_usd_per_release")
    if "build" in kinds.values():
        out[f"{OWN}.eligible_fraction"] = tuple(f"{OWN}.{name}" for name in _COVERAGE)
        costs = ("port_usd_per_release", "model_families", "usd_per_family_year")
        out[RELEASES] = (releases, *(f"{OWN}.{name}" for name in costs))
    return out


_COVERAGE = (
    "day0_coverage_fraction",
    "port_lag_months",
    "traffic_model_age_months",
    "context_eligible_fraction",
    "modality_eligible_fraction",
)


def _software(out: dict[str, Floats], path: str, kind: str) -> None:
    """Cost of porting model releases; for the own chip the traffic its software can take."""
    each = out.pop(f"{path}.port_usd_per_release", None)
    ported = None if each is None else each * out["software.releases_per_year"]
    if kind == "rent":
        if ported is not None:
            out[f"{path}.port_usd_per_year"] = out[f"{path}.port_usd_per_year"] + ported
        return
    families = out.pop(f"{path}.model_families", None)
    upkeep = out.pop(f"{path}.usd_per_family_year", None)
    if families is not None and upkeep is not None:
        ported = families * upkeep + (0.0 if ported is None else ported)
    if ported is not None:
        out[RELEASES] = ported
    day0, lag, age, *shares = (out.pop(f"{path}.{name}", None) for name in _COVERAGE)
    if lag is not None and age is not None:
        shares.append(coverage_fraction(np.zeros(1) if day0 is None else day0, lag, age))
    for share in shares:
        if share is not None:
            out[f"{path}.eligible_fraction"] = out[f"{path}.eligible_fraction"] * share


def _token_price(out: dict[str, Floats], shocks: Mapping[str, Floats]) -> None:
    """Declines of the price of tokens added up, and their forecast errors from the shocks."""
    stated = [f"value.{name}_decline_per_year" for name in PRICE_DRIFTS]
    parts = [out.pop(path) for path in stated if path in out]
    if parts:
        out["value.decline_per_year"] = sum(parts[1:], parts[0])
    sds = {name: out.pop(f"value.{name}_innovation_sd", None) for name in PRICE_DRIFTS}
    changes = out.pop("value.observed_changes", None)
    carried = out.pop("value.autocorrelation_fraction", np.array([POOLED_AUTOCORRELATION]))
    if changes is None or all(sd is None for sd in sds.values()):
        return
    from scipy.special import ndtri  # noqa: PLC0415 - heavy to import

    total: Floats = np.zeros((1, LONGEST_YEARS))
    for name, sd in sds.items():
        if sd is not None:
            own = [driver_name(f"drift.{name}", i) for i in range(shocks_needed(LONGEST_YEARS))]
            total = total + log_errors(
                np.stack([ndtri(shocks[one]) for one in own], axis=1),
                innovation_sd=sd[:, None],
                observed_changes=changes[:, None],
                autocorrelation=carried[:, None],
            )
    out |= dict(zip(yearly_paths(LOG_ERROR), total.T, strict=True))


def _rents(out: dict[str, Floats], shocks: Mapping[str, Floats]) -> None:
    """Path of all rents about their drift: today's excess over owner cost fades, shocks come."""
    volatility = out.pop("market.rent_volatility_ratio", None)
    speed = out.pop("market.rent_reversion_per_year", None)
    excess = out.pop("market.rent_over_owner_cost_ratio", np.ones(1))
    if volatility is None or speed is None:
        return
    from scipy.special import ndtri  # noqa: PLC0415 - heavy to import

    start = np.log(excess)[:, None]
    path = reverting_path(
        np.stack([ndtri(shocks[name]) for name in _RENT_SHOCKS], axis=1),
        volatility=volatility[:, None],
        reversion_per_year=speed[:, None],
        start=start,
    )
    out |= dict(zip(yearly_paths(LOG_RENT), (path - start).T, strict=True))


def _parts(out: dict[str, Floats], path: str, kind: str) -> None:
    """Cost of die, memory and package from areas, gigabytes and prices of parts."""
    area = out.pop(f"{path}.die_area_mm2")
    dies_a_wafer = WAFER_MM2 * WAFER_USE / area
    die = out["parts.wafer_usd"] / dies_a_wafer / out["parts.die_yield_fraction"]
    memory = out.pop(f"{path}.memory_gb") * out["parts.hbm_usd_per_gb"]
    good = out["parts.packaging_yield_fraction"]
    # good dies and memory lost in packaging are charged to the package
    lost = (die + memory) * (1.0 / good - 1.0)
    out[f"{path}.die_usd"] = die
    out[f"{path}.memory_usd"] = memory
    out[f"{path}.packaging_usd"] = out["parts.packaging_usd"] / good + lost
    if kind == "build":
        out[f"{path}.test_usd"] = out["parts.test_usd"]


def _built_rent(out: dict[str, Floats], path: str) -> Floats:
    """A rent nobody publishes: capital per watt as an annuity, energy, upkeep, the cloud's margin.

    Capital is per watt at the meter, as analysts quote it per gigawatt; its hall is written off
    over the life of a hall, the rest over the service life of the silicon.
    """
    inputs = Inputs(out)
    rate = inputs("decision.discount_rate")
    watts = inputs(f"{path}.it_w_per_chip") * inputs("site.pue_ratio")
    capital = watts * inputs(f"{path}.capital_usd_per_w")
    hall = capital * inputs(f"{path}.hall_fraction")
    silicon = recovery_factor(rate, inputs(f"{path}.life_years"))
    yearly = (capital - hall) * (silicon + inputs("operations.fraction_per_year"))
    yearly = yearly + hall * recovery_factor(rate, inputs("site.life_years"))
    yearly = yearly + energy_usd_per_year(inputs, watts)
    rent: Floats = yearly / (1.0 - inputs("market.cloud_margin_fraction")) / YEAR_HOURS
    return rent[:, 0]


def sampler(
    ledger: Ledger, kinds: Mapping[str, str], chips: Mapping[str, str], shift_ratios: Floats
) -> Sampler:
    """Collect distributions and fixed values of a resolved scenario.

    Parameters
    ----------
    ledger : Ledger
    kinds, chips : mapping of option key to kind and to chip name
        Options with the same chip share what is a property of the chip.
    shift_ratios : array, shape (shift,)
    """
    signs: dict[str, Sign] = {
        f"{name}.{term.name}": term.sign for name, terms in GLOBAL_TERMS.items() for term in terms
    }
    for key, kind in kinds.items():
        signs |= {f"options.{key}.{term.name}": term.sign for term in OPTION_TERMS[kind]}
    slots = {key: index for index, key in enumerate(kinds)}
    first_of_chip = {chips[key]: key for key in reversed(list(kinds)) if key in chips}
    columns: dict[str, str] = {}
    distributions: dict[str, Distribution] = {name: Uniform(low=0.0, high=1.0) for name in UNIFORMS}
    fixed: dict[str, float] = {}
    for entry in ledger:
        figure = entry.chosen
        sign = signs.get(entry.path)
        if sign is None or figure.low is None or figure.low == figure.high:
            fixed[entry.path] = figure.value
            continue
        name = _driver(entry.path, kinds, slots, chips, first_of_chip)
        columns[entry.path] = name
        law = from_figure(figure, "positive" if sign == "count" else sign)
        if isinstance(law, TwoPieceNormal) and entry.path.endswith("growth_per_year"):
            law = replace(law, floor=STEEPEST_FALL)
        distributions.setdefault(name, law)
    distributions |= {name: Uniform(low=0.0, high=1.0) for name in _shock_names(ledger)}
    return Sampler(
        ledger=ledger,
        columns=columns,
        distributions=distributions,
        fixed=fixed,
        kinds=kinds,
        shift_ratios=shift_ratios,
    )


def _shock_names(ledger: Ledger) -> list[str]:
    """Drivers of the simulated paths that the scenario asks for."""
    names = [
        driver_name(f"drift.{name}", slot)
        for name in PRICE_DRIFTS
        if f"value.{name}_innovation_sd" in ledger
        for slot in range(shocks_needed(LONGEST_YEARS))
    ]
    return names + list(_RENT_SHOCKS if "market.rent_volatility_ratio" in ledger else ())


def _driver(
    path: str,
    kinds: Mapping[str, str],
    slots: Mapping[str, int],
    chips: Mapping[str, str],
    first_of_chip: Mapping[str, str],
) -> str:
    """Name of the registry column a path draws from."""
    if not path.startswith("options."):
        return path
    _, key, field = path.split(".")
    shared = {term.name for term in OPTION_TERMS["buy"]} | {
        term.name for term in OPTION_TERMS["rent"]
    }
    if kinds[key] == "build" and field not in shared:
        return f"build.{field}"
    owner = first_of_chip[chips[key]] if field in _BY_CHIP and key in chips else key
    return driver_name(f"option.{field}", slots[owner])
