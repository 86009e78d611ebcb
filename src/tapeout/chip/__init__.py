"""One package: specification, and in `yields`, `die` and `package` what it costs to make."""

from tapeout.chip.spec import is_measured, spec_from_record
from tapeout.chip.tables import measured_rows
from tapeout.chip.types import ChipSpec, EfficiencyModel, Link

__all__ = [
    "ChipSpec",
    "EfficiencyModel",
    "Link",
    "is_measured",
    "measured_rows",
    "spec_from_record",
]
