"""Every line says what it depends on: perturb each input and see exactly the declared lines move.

A strategy is evaluated in a few dozen sampled draws, each input changed by a few per cent both
ways, by a quarter, and where zero by a step. Two rules say when a declared input need not show:
a line that is zero throughout shows nothing, and the port of an option, paid because it is in use
at all, moves only with the dates on which use begins and ends.
"""

import numpy as np
import pytest

from tapeout.economics.cashflow import strategy_cash_flow
from tapeout.economics.scarcity import Scarce
from tapeout.economics.types import Holder, Inputs, Roadmap, Step

DRAWS = 64
STEPS = (0.95, 1.04, 1.3)
FOREIGN = "inputs of options that are not in the strategy"
TOSSES = {"options.own.cancelled": (0.0, 1.0), "options.own.spins": (0.0, 1.0, 2.0, 3.0)}
ENDS = {"first": "own.first_service", "full": "own.full_volume"}
ANCHORED = ("months_to_tapeout", "slip_months", "spins", "spin_months", "qualification_months")

# Own chips that follow one another: after an early shift, and hastily, while the hall still waits.
SHIFTED = {
    "options.own.shift_years": (-0.2, 1.0),
    "options.own.shift_ratio": (0.4, 4.0),
    "options.own.generation_cadence_years": (0.25, 2.5),
    "options.own.generation_design_months": (1.0, 18.0),
    "options.own.sales_window_years": (0.1, 4.0),
    "options.own.life_years": (0.3, 8.0),
}
HASTY = SHIFTED | {
    "options.own.shift_years": (-1.0, 1.0),
    "options.own.generation_cadence_years": (0.25, 0.9),
    "options.own.generation_design_months": (1.0, 12.0),
    "options.own.sales_window_years": (0.05, 0.6),
    "options.own.ramp_years": (1.0, 3.0),
    "options.own.slip_months": (0.0, 12.0),
    "options.own.slip_learning_fraction": (0.05, 0.9),
    "options.own.life_years": (0.3, 2.0),
}
LASTING = SHIFTED | {
    "options.own.shift_years": (0.4, 3.0),
    "options.own.generation_cadence_years": (0.8, 2.0),
    "options.own.sales_window_years": (2.0, 8.0),
    "options.own.life_years": (1.0, 5.0),
    "options.own.shift_ratio": (0.4, 0.9),
}
LONG = LASTING | {
    "options.own.life_years": (3.0, 9.0),
    "options.own.shift_years": (0.2, 1.8),
    "options.own.generation_design_months": (1.0, 10.0),
}

STRATEGIES = {
    "buy": (["gpu"], ()),
    "rent": (["tpu"], ()),
    "rent with a minimum": (["trn"], ()),
    "api": (["api"], ()),
    "build with a rented bridge": (
        [Step(option="tpu", end=ENDS["full"]), "own", Step(option="gpu", start=ENDS["full"])],
        (),
    ),
    "rent of a thin market": (["thin"], ()),
    "build with tokens as bridge": (["api", "own"], ()),
    "build half, buy the rest": ([Step(option="own", share=0.5), "gpu"], ()),
    "buy until the chip comes, then rent": (
        [Step(option="gpu", end=ENDS["first"]), "own", Step(option="trn", start=ENDS["first"])],
        (),
    ),
    "two own chips with a rented bridge": (
        [
            Step(option="tpu", end=ENDS["full"]),
            Step(option="own", roadmap=Roadmap(generations=2)),
            Step(option="gpu", start=ENDS["full"]),
        ],
        (SHIFTED, HASTY, LASTING, LONG),
    ),
    "an own chip at every other step, the rest bought": (
        [Step(option="own", share=0.6, roadmap=Roadmap(generations=2, stride=2)), "gpu"],
        (SHIFTED, HASTY, LASTING, LONG),
    ),
    "scarce first, then the other": (["old", "gpu"], ()),
    "nothing but scarce chips": (["old"], ()),
    "a mix by shares": ([Step(option="tpu", share=0.5), "gpu"], ()),
    "buy now, rent after three years": (
        [Step(option="gpu", end=3.0), Step(option="tpu", start=3.0)],
        (),
    ),
}


def sampled(world, changes, seed=4):
    """Draws that spread every input, wide enough for every branch to be taken somewhere."""
    rng = np.random.default_rng(seed)
    wide = {
        "market.rent_drift_per_year": (-0.35, 0.15),
        "demand.growth_per_year": (-0.05, 0.2),
        "demand.realised_ratio": (0.3, 1.2),
        "demand.fill_fraction": (0.2, 0.9),
        "rival.cadence_years": (0.8, 3.0),
        "software.port_maturity_years": (0.5, 4.0),
        "options.own.shift_years": (0.5, 5.0),
        "options.own.shift_ratio": (0.5, 5.0),
        "options.own.eligible_fraction": (0.5, 0.97),
        "options.own.slip_months": (-8.0, 14.0),
        "options.own.months_to_tapeout": (1.0, 14.0),
        "options.own.ramp_years": (0.3, 2.5),
        "options.own.sales_window_years": (0.5, 4.0),
        "options.own.life_years": (0.7, 7.0),
        "options.gpu.life_years": (0.7, 13.0),
        "options.gpu.generation_years": (-3.0, 0.0),
        "options.old.life_years": (0.7, 7.0),
        "options.old.generation_years": (-3.0, 0.0),
        "options.own.memory_consigned_fraction": (-0.5, 0.9),
        "options.old.ceiling_chips_per_quarter": (50.0, 600.0),
        "options.trn.minimum_usd_per_year": (1e7, 9e7),
        "options.trn.minimum_years": (2.0, 9.0),
    } | changes
    values = {}
    for path, column in world.inputs().values.items():
        if path in TOSSES:
            values[path] = rng.choice(TOSSES[path][:3], DRAWS)
        elif path in wide:
            values[path] = np.maximum(_between(rng, *wide[path]), _floor(path))
        else:
            values[path] = column * rng.uniform(0.8, 1.2, DRAWS)
        if path.endswith("_fraction"):
            values[path] = np.clip(values[path], 0.0, 0.97)
    return values


def _between(rng, low, high):
    """Draws that crowd at both ends of a range."""
    return low + (high - low) * rng.beta(0.5, 0.5, DRAWS)


def _floor(path):
    return -np.inf if path.endswith(("_per_year", "generation_years")) else 0.0


def perturbed(path, column):
    """The column changed a little in several ways."""
    if path in TOSSES:
        return [np.roll(TOSSES[path], -1)[column.astype(int)]]
    out = [np.where(column == 0, 0.0, column * step) for step in STEPS]
    if (column == 0).any():
        size = np.abs(column).max() or 1.0
        out.append(np.where(column == 0, 0.3 * size, column))
    if path.endswith("_fraction"):
        out = [np.clip(one, 0.0, 1.0) for one in out]
    return out


def moved_lines(world, steps, objective, values, scarce=()):
    """Lines, and for each input the set of lines that moved."""
    site_w = 2e6 * np.clip(np.arange(1, 41) / 20, 0, 1)
    where = world.setting(mean_tokens_per_s=1e6, site_w=site_w, demand_years=1.0, scarce=scarce)
    plan = world.strategy(*steps)
    paths = relevant(world, steps)
    columns = [(path, one) for path in paths for one in perturbed(path, values[path])]
    columns.append((FOREIGN, None))
    inputs = Inputs({path: stacked(path, values, columns, paths) for path in values})
    flow, _ = strategy_cash_flow(where, plan, inputs, objective=objective, negotiated=True)
    usd = flow.usd.reshape(len(columns) + 1, DRAWS, where.quarters, len(flow.lines))
    scale = np.abs(usd).max(axis=(0, 1, 2))
    moved = {path: set() for path in (*paths, FOREIGN)}
    for index, (path, _) in enumerate(columns):
        change = np.abs(usd[index + 1] - usd[0]).max(axis=(0, 1))
        moved[path] |= {
            line.key for line, by, size in zip(flow.lines, change, scale, strict=True)
            if by > 1e-9 * max(size, 1e3)
        }  # fmt: skip
    zero = {line.key for line, size in zip(flow.lines, scale, strict=True) if size < 1e-3}
    return flow.lines, moved, zero


def moved_in_any(world, steps, objective, samples):
    """The same over several samples: what moves in any of them, what is zero in all of them."""
    seeds = (4,) if samples == ({},) else (4, 5)  # dates that meet are rare: sampled twice
    drawn = [sampled(world, one, seed) for one in samples for seed in seeds]
    found = [moved_lines(world, steps, objective, values) for values in drawn]
    lines, moved, zero = found[0]
    for _, more, none in found[1:]:
        moved = {path: keys | more[path] for path, keys in moved.items()}
        zero &= none
    return lines, moved, zero


def stacked(path, values, columns, paths):
    """One input over all perturbations: its own, and that of everything foreign at once."""
    parts = [values[path]]
    for changed, column in columns:
        if changed == FOREIGN:
            parts.append(values[path] if path in paths else perturbed(path, values[path])[0])
        else:
            parts.append(column if changed == path else values[path])
    return np.concatenate(parts)


def relevant(world, steps):
    """Inputs of the options in a strategy, and the global ones."""
    keys = {step.option if isinstance(step, Step) else step for step in steps}
    return [
        path for path in world.inputs().values
        if not path.startswith("options.") or path.split(".")[1] in keys
        or path == "options.gpu.generation_years"  # sets the trend of the token price
    ]  # fmt: skip


@pytest.mark.parametrize("objective", ["cost", "contribution"])
@pytest.mark.parametrize("name", STRATEGIES)
def test_exactly_the_declared_lines_move(world, name, objective):
    steps, samples = STRATEGIES[name]
    lines, moved, zero = moved_in_any(world, steps, objective, samples or ({},))
    undeclared = {
        (line.key, path) for line in lines for path, keys in moved.items()
        if line.key in keys and not line.depends_on(path)
    }  # fmt: skip
    unmoved = {
        (line.key, path) for line in lines for path in relevant(world, steps)
        if line.depends_on(path) and line.key not in moved[path]
        and line.key not in zero and not _is_step(line.key, path)
    }  # fmt: skip
    assert not undeclared, sorted(undeclared)
    assert not unmoved, sorted(unmoved)


SCARCE = (
    Scarce(
        key="mw", title="Power", unit="MW", holder=Holder.ENERGY_SITE, in_watts=True,
        amount=np.linspace(2e5, 1.5e6, 40), each={"own": 1.0, "gpu": 1.0, "old": 1.0},
    ),
    Scarce(
        key="hbm_gb", title="Memory", unit="GB", holder=Holder.MEMORY,
        amount=np.full(40, 2e4), each={"own": 300.0, "gpu": 288.0},
        lead_quarters=3, hurried_quarters=3, reservation_usd=5.0, hurry_usd=2.0,
    ),
)  # fmt: skip


@pytest.mark.parametrize("objective", ["cost", "contribution"])
@pytest.mark.parametrize(
    "name", ["buy", "build half, buy the rest", "scarce first, then the other"]
)
def test_no_line_moves_undeclared_where_inputs_are_scarce(world, name, objective):
    steps, _ = STRATEGIES[name]
    values = sampled(world, {})
    lines, moved, zero = moved_lines(world, steps, objective, values, SCARCE)
    undeclared = {
        (line.key, path) for line in lines for path, keys in moved.items()
        if line.key in keys and not line.depends_on(path)
    }  # fmt: skip
    assert not undeclared, sorted(undeclared)
    assert {"hbm_gb.reservation", "hbm_gb.expedite"} - zero <= {line.key for line in lines}


def _is_step(key, path):
    """Whether a line is paid for use as such, and a path is not one of the dates of use."""
    return key.endswith(".port") and path.rsplit(".", 1)[-1] not in (
        "port_usd",
        "port_usd_per_year",
    )


def test_a_line_declares_only_inputs_that_exist(world):
    known = world.inputs().values
    for steps, _ in STRATEGIES.values():
        for objective in ("cost", "contribution"):
            cash, _ = world.flow(steps, objective=objective, where=world.setting(site_w=1e6))
            for line in cash.lines:
                unknown = [path for path in line.inputs if path not in known]
                assert not unknown, (line.key, unknown)


def test_line_keys_are_unique(world):
    for steps, _ in STRATEGIES.values():
        cash, _ = world.flow(steps, objective="contribution")
        keys = [line.key for line in cash.lines]
        assert len(set(keys)) == len(keys)
