"""Names as people write them: slugs, aliases, near matches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tapeout.catalog.fields import data_rows
from tapeout.errors import UnknownNameError

_NOT_PLAIN = re.compile(r"[^a-z0-9]+")


def slug(text: str) -> str:
    """Write a name in lower case with hyphens, as in paths.

    Examples
    --------
    >>> slug("NVIDIA GB300 NVL72 (per GPU)")
    'nvidia-gb300-nvl72-per-gpu'
    """
    return _NOT_PLAIN.sub("-", text.lower().replace("ñ", "n")).strip("-")


def plain(text: str) -> str:
    """Letters and digits only, for comparing names."""
    return slug(text).replace("-", "")


class ChipNames:
    """Finds a chip by its name, an alias, or either with or without the maker."""

    def __init__(self, chips: Iterable[str]) -> None:
        self.chips = tuple(chips)
        self.aliases = {row["alias"]: row["entity"] for row in data_rows("aliases.csv")}
        found: dict[str, str] = {}
        for alias, chip in self.aliases.items():
            found[plain(alias)] = chip
            found.setdefault(plain(f"{chip.partition(' ')[0]} {alias}"), chip)
        for chip in self.chips:
            found[plain(chip)] = chip
            found.setdefault(plain(chip.partition(" ")[2]), chip)
        self._found: Mapping[str, str] = found

    def of(self, chip: str) -> tuple[str, ...]:
        """Return the aliases of one chip."""
        return tuple(alias for alias, target in self.aliases.items() if target == chip)

    def find(self, name: str) -> str:
        """Return the full name of a chip.

        Raises
        ------
        UnknownNameError
            No chip has this name or alias; near ones are suggested.
        """
        chip = self._found.get(plain(name))
        if chip is None:
            raise UnknownNameError("chip", name, [*self.aliases, *self.chips])
        return chip
