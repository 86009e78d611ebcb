"""Books kept by hand and by law: nothing on a balance appears or vanishes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tapeout.economics.books import (
    borrow,
    contract_commitment_usd,
    depreciate,
    expected_default_loss_usd,
    income_tax,
    sale_and_leaseback,
    tax_basis,
)
from tapeout.economics.finance import npv_usd

purchases = arrays(np.float64, 12, elements=st.floats(0.0, 1e9))
ratios = arrays(np.float64, 12, elements=st.floats(0.1, 1.0))


@settings(deadline=None)
@given(purchases, st.integers(1, 20), st.integers(1, 20), ratios)
def test_what_was_bought_is_written_off_derecognised_or_still_there(usd, book, service, useful):
    kept = depreciate(usd, book_quarters=book, service_quarters=service, useful_ratio=useful)
    gone = kept.depreciation + kept.impairment + kept.derecognised
    assert np.cumsum(usd - gone) == pytest.approx(kept.carrying, abs=1.0)
    assert (kept.impairment >= 0.0).all()
    assert (kept.carrying >= 0.0).all()


@settings(deadline=None)
@given(purchases, st.sampled_from([0, 3, 5, 7]), st.integers(1, 30))
def test_the_tax_authority_grants_every_dollar_once(usd, recovery, service):
    kept = tax_basis(usd, recovery_years=recovery, service_quarters=service)
    gone = kept.depreciation + kept.derecognised
    assert np.cumsum(usd - gone) == pytest.approx(kept.carrying, abs=1.0)


def test_a_straight_line_and_an_early_exit_by_hand():
    usd = np.array([100.0, 0.0, 0.0, 0.0, 0.0])
    kept = depreciate(usd, book_quarters=5, service_quarters=3)
    assert kept.depreciation.tolist() == pytest.approx([20, 20, 20, 0, 0])
    assert kept.derecognised.tolist() == pytest.approx([0, 0, 0, 40, 0])
    assert kept.carrying.tolist() == pytest.approx([80, 60, 40, 0, 0])


def test_a_shift_writes_the_carrying_amount_down_for_good():
    usd = np.array([100.0, 0.0, 0.0, 0.0])
    useful = np.array([1.0, 0.5, 0.8, 0.8])  # a recovery is not written up
    kept = depreciate(usd, book_quarters=4, service_quarters=8, useful_ratio=useful)
    assert kept.impairment.tolist() == pytest.approx([0, 25, 0, 0])
    assert kept.depreciation.tolist() == pytest.approx([25, 25, 12.5, 12.5])


def test_five_year_property_follows_publication_946():
    usd = np.concatenate([[1.0], np.zeros(23)])
    kept = tax_basis(usd, recovery_years=5, service_quarters=40)
    yearly = kept.depreciation.reshape(6, 4).sum(axis=1)
    assert yearly == pytest.approx([0.20, 0.32, 0.192, 0.1152, 0.1152, 0.0576], abs=5e-5)
    at_once = tax_basis(usd, recovery_years=0, service_quarters=40)
    assert at_once.depreciation[0] == 1.0


def test_a_loan_is_worth_what_was_lent_at_its_own_rate():
    drawn = np.concatenate([[100.0, 0.0, 40.0], np.zeros(17)])
    debt = borrow(drawn, rate_per_quarter=0.02, term_quarters=8)
    flows = debt.drawn - debt.repaid - debt.interest
    assert float(npv_usd(flows, 0.02)) == pytest.approx(0.0, abs=1e-9)
    assert debt.owed[-1] == pytest.approx(0.0, abs=1e-12)


@settings(deadline=None)
@given(arrays(np.float64, 12, elements=st.floats(-1e6, 1e6)))
def test_losses_carried_forward_are_used_once_and_never_refunded(income):
    tax = income_tax(income, tax_fraction=0.25)
    assert (tax.current >= 0.0).all()
    used = np.maximum(income, 0.0) - tax.current / 0.25
    lost = np.maximum(-income, 0.0)
    assert np.cumsum(lost - used) == pytest.approx(tax.loss, abs=1e-3)
    assert (used <= 0.8 * np.maximum(income, 0.0) + 1e-6).all()


def test_a_loss_covers_four_fifths_of_a_later_profit():
    tax = income_tax(np.array([-100.0, 100.0, 100.0]), tax_fraction=0.2)
    assert tax.current.tolist() == pytest.approx([0.0, 4.0, 16.0])


def test_a_contract_binds_for_the_rest_of_its_term():
    plain, present = contract_commitment_usd(np.array([10.0, 0.0, 5.0, 0.0]), 4, 0.0)
    assert plain.tolist() == [30.0, 20.0, 10.0 + 15.0, 10.0]
    assert present == pytest.approx(plain)
    _, worth = contract_commitment_usd(np.array([10.0]), 3, 0.1)
    assert worth[0] == pytest.approx(10 * (1.1**-0.5 + 1.1**-1.5))


def test_a_sale_and_leaseback_at_ones_own_rate_gains_nothing():
    terms = {"proceeds_usd": 100.0, "term_quarters": 12, "resale_usd": 10.0}
    even = sale_and_leaseback(lessor_rate_per_quarter=0.03, owner_rate_per_quarter=0.03, **terms)
    assert even.gain_usd == pytest.approx(0.0, abs=1e-12)
    dear = sale_and_leaseback(lessor_rate_per_quarter=0.02, owner_rate_per_quarter=0.03, **terms)
    assert dear.gain_usd > 0.0  # a lessor that asks less than the owner's rate lends cheaply
    free = sale_and_leaseback(lessor_rate_per_quarter=0.0, owner_rate_per_quarter=0.0, **terms)
    assert free.lease_usd_per_quarter == pytest.approx(90.0 / 12)


def test_a_counterparty_fails_once():
    loss = expected_default_loss_usd(np.full(4000, 100.0), 0.2, 0.4)
    assert loss.sum() == pytest.approx(60.0)
    assert expected_default_loss_usd(np.full(4, 100.0), 0.0, 0.0).sum() == 0.0
