"""Options: lattices, regression and exchange as oracles; staged programmes on simulated futures.

The first three assume lognormal drivers and a traded replicating portfolio. Neither holds for a
chip programme: they are here to test what we compute, and stand in no verdict. `staged_value`
needs neither; it takes simulated futures and physical probabilities.
"""

from tapeout.risk.options.exchange import Asset, exchange_option_usd, investment_trigger
from tapeout.risk.options.lattice import Exercise, OptionTerms, lattice_option_usd
from tapeout.risk.options.lsm import lsm_option_usd, lsm_value_usd
from tapeout.risk.options.staged import GO_ON, Stage, StagedValue, staged_value

__all__ = [
    "GO_ON",
    "Asset",
    "Exercise",
    "OptionTerms",
    "Stage",
    "StagedValue",
    "exchange_option_usd",
    "investment_trigger",
    "lattice_option_usd",
    "lsm_option_usd",
    "lsm_value_usd",
    "staged_value",
]
