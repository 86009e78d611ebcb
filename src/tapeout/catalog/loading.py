"""Opening the catalogue: the release, with a user's overlay on top."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from tapeout.catalog.fields import data_text
from tapeout.catalog.release import check_release, release_rows
from tapeout.catalog.store import Catalog

_TABLES = (
    "release.csv",
    "fields.csv",
    "field_aliases.csv",
    "aliases.csv",
    "chips.csv",
    "market.csv",
    "programmes.csv",
    "drivers.csv",
    "default_ranges.csv",
    "peak_rates.csv",
)


@cache
def _release(release: str) -> Catalog:
    digest = hashlib.sha256()
    for name in _TABLES:
        digest.update(data_text(name).encode())
    return Catalog(release, digest.hexdigest(), release_rows())


def load(overlay: Path | None = None, release: str | None = None) -> Catalog:
    """Open the catalogue; the release is read once a process.

    Parameters
    ----------
    overlay : Path, optional
        TOML file of newer figures; they win over the release.
    release : str, optional
        Date of a shipped release; the newest without one.

    Raises
    ------
    UnknownNameError
        This release is not shipped.
    ProblemsError
        Everything wrong with the overlay, at once.
    """
    base = _release(check_release(release))
    if overlay is None:
        return base
    from tapeout.catalog.overlay import read_overlay  # noqa: PLC0415  # pydantic only if needed

    data, rows = read_overlay(overlay, base)
    digest = hashlib.sha256(base.digest.encode() + data).hexdigest()
    return base.with_rows(digest, rows)
