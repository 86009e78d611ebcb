"""Joint fit of global constants and nested software effects to measured times.

Maximum a posteriori: log times are the law's at the constants plus one effect of each level, whose
normal priors shrink them towards zero (a mixed model); a Student-like loss keeps a few broken
configurations from moving the rest. Gauss-Newton steps with Levenberg damping.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapeout.numerics import Floats, Ints

STEPS = 30
DIFFERENCE = 1e-4  # of a logarithm, for derivatives
LONGEST = 0.5  # largest change of a constant's logarithm in one step
CONVERGED = 1e-4  # relative fall of the loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What is fitted; rows are measured points.

    Attributes
    ----------
    log_law : function from log constants (constant,) to log times (row,)
    log_measured, weights : array, shape (row,)
    keys : for every row, the key of its effect at each level
    effect_sd : spread of the effects of each level, log units
    prior, prior_sd : array, shape (constant,)
        Log medians and log spreads of the constants.
    scale, noise : float
        Error at which the loss starts to bend, and error of one measurement, log units.
    """

    log_law: Callable[[Floats], Floats]
    log_measured: Floats
    weights: Floats
    keys: Sequence[Sequence[str]]
    effect_sd: Sequence[float]
    prior: Floats
    prior_sd: Floats
    scale: float = 0.15
    noise: float = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """Log constants, effects by key, and the covariance of the log constants."""

    point: Floats
    effects: Mapping[str, float]
    covariance: Floats
    loss: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Design:
    """Effects as columns: `place` (level, row) names the column of each level."""

    names: tuple[str, ...]
    place: Ints
    sd: Floats

    @classmethod
    def of(cls, problem: Problem) -> _Design:
        names: dict[str, int] = {}
        sd: list[float] = []
        place = np.zeros((len(problem.effect_sd), len(problem.keys)), dtype=np.int64)
        for row, keys in enumerate(problem.keys):
            for level, key in enumerate(keys):
                if key not in names:
                    names[key] = len(names)
                    sd.append(problem.effect_sd[level])
                place[level, row] = names[key]
        return cls(names=tuple(names), place=place, sd=np.array(sd))

    def sum(self, effects: Floats) -> Floats:
        """Effects of all levels of every row."""
        total: Floats = effects[self.place].sum(axis=0)
        return total

    def matrix(self) -> Floats:
        """Derivatives of log times by the effects, shape (row, effect)."""
        rows = np.arange(self.place.shape[1])
        matrix = np.zeros((rows.size, self.sd.size))
        for level in self.place:
            matrix[rows, level] += 1.0
        return matrix


def solve(problem: Problem, start: Floats | None = None, steps: int = STEPS) -> Solution:
    """Fit; `start` are log constants to begin at (default: the prior)."""
    design = _Design.of(problem)
    constants = problem.prior.size
    unknown = np.concatenate([problem.prior if start is None else start, np.zeros(design.sd.size)])
    centre = np.concatenate([problem.prior, np.zeros(design.sd.size)])
    stiffness = np.concatenate([problem.prior_sd, design.sd]) ** -2.0
    fixed = design.matrix()

    def loss(error: Floats, where: Floats) -> float:
        bent = np.log1p(np.square(error / problem.scale)) * (problem.scale / problem.noise) ** 2
        return float(problem.weights @ bent + stiffness @ np.square(where - centre))

    def error_at(where: Floats) -> Floats:
        law = problem.log_law(where[:constants])
        found: Floats = law + design.sum(where[constants:]) - problem.log_measured
        return found

    error = error_at(unknown)
    best, damping = loss(error, unknown), 1e-2
    for _ in range(steps):
        slopes = np.hstack([_slopes(problem, unknown[:constants]), fixed])
        weight = problem.weights / (1.0 + np.square(error / problem.scale)) / problem.noise**2
        curvature = slopes.T @ (weight[:, None] * slopes) + np.diag(stiffness)
        gradient = slopes.T @ (weight * error) + stiffness * (unknown - centre)
        before = best
        for _ in range(8):
            damped = curvature + damping * np.diag(np.diag(curvature))
            move = np.clip(-np.linalg.solve(damped, gradient), -LONGEST, LONGEST)
            tried = error_at(unknown + move)
            if (found := loss(tried, unknown + move)) < best:
                unknown, error, best, damping = unknown + move, tried, found, damping / 4.0
                break
            damping *= 4.0
        if before - best < CONVERGED * before:
            break
    covariance = np.linalg.inv(curvature)[:constants, :constants]
    effects = dict(zip(design.names, unknown[constants:].tolist(), strict=True))
    return Solution(point=unknown[:constants], effects=effects, covariance=covariance, loss=best)


def _slopes(problem: Problem, point: Floats) -> Floats:
    """Forward differences of the law, shape (row, constant)."""
    here = problem.log_law(point)
    columns = [
        (problem.log_law(point + DIFFERENCE * axis) - here) / DIFFERENCE
        for axis in np.eye(point.size)
    ]
    return np.stack(columns, axis=1)
