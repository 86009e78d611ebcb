"""Settings and fixtures shared by all tests: a plain chip and placements on it."""

import importlib.util
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tapeout.chip import ChipSpec, Link
from tapeout.fabric import System
from tapeout.perf import Placement
from tapeout.workload import TensorFormats, load_model

# Machines differ in speed and are shared: a slow example is no failure.
settings.register_profile("tapeout", deadline=None)
settings.load_profile("tapeout")


FP8 = TensorFormats(weight="fp8", activation="fp8", kv="fp8")


def make_chip(**changes):
    figures = {
        "name": "NVIDIA plain",
        "peak_flop_per_s": {"bf16": 1e15, "fp8": 2e15},
        "memory_bytes": 192e9,
        "memory_bytes_per_s": 4e12,
        "cores": 132,
        "l2_bytes": 5e7,
        "links": (Link(name="link", bytes_per_s=450e9, chips=64),),
        "tdp_w": 1000.0,
        "process_nm": 4.0,
        "memory_kind": "HBM3e",
    }
    return ChipSpec(**figures | changes)


def make_placement(model="llama-3.1-70b", chip=None, formats=FP8, **degrees):
    system = System(chip=chip or make_chip(), chips_per_domain=64, domains=2)
    return Placement(architecture=load_model(model), system=system, formats=formats, **degrees)


def load_script(path):
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def script():
    """Return a loader of scripts that are no part of the package, by their path in the project."""
    return load_script


@pytest.fixture(scope="session")
def chip():
    """Return a maker of chips; keyword arguments replace figures of the plain one."""
    return make_chip


@pytest.fixture(scope="session")
def placed():
    """Return a maker of placements; without arguments Llama-3.1-70B in fp8 on one plain chip."""
    return make_placement
