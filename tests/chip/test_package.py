"""Package losses, bill of materials and margins against printed figures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.chip import package

A11 = package.Assembly(interposer_yield=0.98, bond_yield=0.99, bonds=4, substrate_yield=0.99)
# Silicon Analysts' breakdown of a B200 (2026): dies, HBM, CoWoS-L, packaging losses, the rest [USD]
B200 = package.bill_of_materials_usd(
    dies_usd=900, memory_usd=2900, carrier_usd=1100 + 1000, test_usd=480
)

# Counted oracles: name, value, expected, absolute tolerance. 7 values, computed; TPU v7 against
# the 11.7k (9.8-14.6k) that Epoch AI publishes.
ORACLES = [
    ("A11 carrier factor", A11.carrier_factor(), 1.0730, 5e-5),
    ("A11 waste", A11.wasted_fraction(), 0.0515, 5e-5),
    ("TPU v7 price", package.price_at_margin_usd(5030.0, 0.575), 11_835.0, 0.5),
    ("B200 parts", sum(B200.values()), 6380.0, 1e-9),
    ("B200 margin", package.gross_margin_fraction(6400.0, 40_000.0), 0.84, 1e-9),
    ("H100 margin", package.gross_margin_fraction(3320.0, 28_000.0), 0.88, 5e-3),
    ("a dollar of HBM at 75 %", package.price_at_margin_usd(1.0, 0.75), 4.0, 1e-9),
]


@pytest.mark.parametrize(("name", "value", "expected", "tolerance"), ORACLES)
def test_printed_package_figures_are_reproduced(name, value, expected, tolerance):
    assert float(value) == pytest.approx(expected, abs=tolerance), name


def test_bonding_losses_are_charged_to_every_part():
    """Hand calculation: 1/(0.9 x 0.5) = 2.22 started per good package, interposers 1/0.8 more."""
    losses = package.Assembly(interposer_yield=0.8, bond_yield=0.9, bonds=1, substrate_yield=0.5)
    parts = package.bill_of_materials_usd(
        dies_usd=9.0, memory_usd=18.0, carrier_usd=3.6, test_usd=0.9, assembly=losses
    )
    assert {name: float(usd) for name, usd in parts.items()} == pytest.approx(
        {"foundry": 20.0, "memory": 40.0, "packaging": 10.0, "test": 2.0}
    )
    assert tuple(parts) == package.PARTS


def test_consigned_memory_carries_no_margin():
    parts = {"foundry": 1000.0, "memory": 2000.0, "packaging": 500.0, "test": 500.0}
    turnkey = package.package_price_usd(parts, 0.5, "turnkey")
    consigned = package.package_price_usd(parts, 0.5, "consigned")
    assert turnkey == pytest.approx(8000.0)
    assert consigned == pytest.approx(2000 / 0.5 + 2000)


@given(cost=st.floats(1.0, 1e5), margin=st.floats(0.0, 0.95))
def test_margin_and_price_are_inverse(cost, margin):
    price = package.price_at_margin_usd(cost, margin)
    assert package.gross_margin_fraction(cost, price) == pytest.approx(margin, abs=1e-12)


def test_parts_broadcast_over_draws():
    parts = package.bill_of_materials_usd(
        dies_usd=np.array([1.0, 2.0]), memory_usd=5.0, carrier_usd=1.0, assembly=A11
    )
    assert package.package_price_usd(parts, np.array([0.2, 0.4]), "turnkey").shape == (2,)
