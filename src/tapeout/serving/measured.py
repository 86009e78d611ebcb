"""The scored part of the end-to-end table as curves ready to be predicted."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tapeout.catalog import load
from tapeout.chip import spec_from_record
from tapeout.errors import InfeasibleError
from tapeout.fabric import System, usual_system
from tapeout.numerics import Floats
from tapeout.perf import Placement, TimingModel, serving_formats
from tapeout.serving.burst import BurstPrediction, burst_closed_loop
from tapeout.serving.cases import Case, Prediction, case_placement, closed_loop, scored_cases
from tapeout.serving.policies import Setting, recipe_policy
from tapeout.serving.steady import Lengths
from tapeout.workload import load_model

ENDTOEND = "measured/endtoend.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Points that differ in load only, lowest load first; arrays have shape (point,)."""

    key: str
    cases: tuple[Case, ...]
    placement: Placement
    lengths: Lengths

    def column(self, name: str) -> Floats:
        """One number of every case."""
        return np.array([float(getattr(case, name)) for case in self.cases])

    def predict(self, model: TimingModel) -> BurstPrediction:
        """Runs with a burst start as the published recipes set them up, for all points."""
        policies = [
            recipe_policy(
                Setting(placement=self.placement, lengths=self.lengths, in_flight=case.concurrency)
            )
            for case in self.cases
        ]
        return burst_closed_loop(
            model,
            self.placement,
            self.lengths,
            self.cases[0].length_spread,
            self.column("concurrency"),
            policies,
        )

    def steady(self, model: TimingModel) -> Prediction:
        """Steady state of the same points, without the burst and the end."""
        return closed_loop(model, self.placement, self.lengths, self.column("concurrency"))


def read_rows(data: Path) -> list[dict[str, str]]:
    """Read the end-to-end table of a measurement folder.

    Raises
    ------
    InfeasibleError
        The folder or the table is not there.
    """
    path = data / ENDTOEND
    if not path.is_file():
        raise InfeasibleError(
            f"{path} does not exist; give the folder of measurements that docs/data.md describes"
        )
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def scored_curves(rows: Iterable[Mapping[str, str]]) -> list[Curve]:
    """Group the scored rows into curves and place each on its chip."""
    grouped: dict[str, list[Case]] = {}
    for case in scored_cases(rows):
        grouped.setdefault(case.curve, []).append(case)
    systems: dict[str, System] = {}
    return [_curve(key, cases, systems) for key, cases in grouped.items()]


def _curve(key: str, cases: list[Case], systems: dict[str, System]) -> Curve:
    first = cases[0]
    if first.chip not in systems:
        systems[first.chip] = usual_system(spec_from_record(load().chip(first.chip)))
    system = systems[first.chip]
    architecture = load_model(first.model)
    formats = serving_formats(system.chip, architecture, first.precision, stack=first.engine)
    return Curve(
        key=key,
        cases=tuple(sorted(cases, key=lambda case: case.concurrency)),
        placement=case_placement(first, architecture, system, formats),
        lengths=Lengths(new=first.input_tokens, cached=0.0, output=first.output_tokens),
    )
