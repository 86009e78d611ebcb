"""Where the chip that a row names comes from: the catalogue, an overlay, a calibration."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from tapeout.catalog import load
from tapeout.chip import ChipSpec, spec_from_record

FindChip = Callable[[str], ChipSpec]


def find_chip(name: str) -> ChipSpec:
    """Chip of the catalogue.

    Raises
    ------
    UnknownNameError
        It has no such chip.
    MissingFieldError
        The chip has neither a bandwidth nor any peak.
    """
    return spec_from_record(load().chip(name))


def chips_from(overlay: Path | None = None, chip_file: Path | None = None) -> FindChip:
    """Look chips up in a calibration first, then in the catalogue with the figures of an overlay.

    Raises
    ------
    ProblemsError
        A file cannot be read or holds mistakes.
    """
    if overlay is None and chip_file is None:
        return find_chip
    catalog = load(overlay)
    measured: dict[str, ChipSpec] = {}
    if chip_file is not None:
        from tapeout.perf.calibrate import load_chip_file  # noqa: PLC0415  # loads pydantic

        spec = load_chip_file(chip_file)
        measured[spec.name.lower()] = spec

    @cache
    def find(name: str) -> ChipSpec:
        found = measured.get(name.lower())
        return found or spec_from_record(catalog.chip(name))

    return find
