"""Scenario in, results out: the only room that knows the whole flow."""

from tapeout.study.capacity import Method
from tapeout.study.decide import decide, prepare
from tapeout.study.results import Results, read_results
from tapeout.study.scenario import json_schema, load_scenario

__all__ = [
    "Method",
    "Results",
    "decide",
    "json_schema",
    "load_scenario",
    "prepare",
    "read_results",
]
