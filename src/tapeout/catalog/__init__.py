"""What is known: chips, memories, links, prices, programmes, drivers; each with its source."""

from tapeout.catalog.choice import STATUS_ORDER
from tapeout.catalog.fields import FieldSpec, find_spec
from tapeout.catalog.loading import load
from tapeout.catalog.names import slug
from tapeout.catalog.peaks import PeakCheck, check_peaks
from tapeout.catalog.programmes import ProgrammeEvent
from tapeout.catalog.ranges import with_default_range
from tapeout.catalog.store import Catalog, ChipRecord, Conflict, Source

__all__ = [
    "STATUS_ORDER",
    "Catalog",
    "ChipRecord",
    "Conflict",
    "FieldSpec",
    "PeakCheck",
    "ProgrammeEvent",
    "Source",
    "check_peaks",
    "find_spec",
    "load",
    "slug",
    "with_default_range",
]
