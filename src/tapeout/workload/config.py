"""Reading values out of a Hugging Face configuration, collecting everything that is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tapeout.errors import Problem, did_you_mean, nearest

MOST = 10**9  # no count in a configuration is larger; keeps products inside 64 bits
MOST_LAYERS = 10_000
_SHOWN = 60  # characters of a wrong value in a message


class Reader:
    """A configuration, and the problems met while reading it.

    A value that cannot be used is noted and replaced by the smallest one allowed, so that reading
    goes on and all problems are reported at once. Nested `text_config` is looked at first.
    """

    def __init__(self, values: Mapping[str, object]) -> None:
        nested = values.get("text_config")
        self._prefix = ""
        self._outer = values
        self._values = values
        if isinstance(nested, Mapping):
            self._prefix = "text_config."
            self._values = nested
        self.problems: list[Problem] = []

    def note(self, key: str, value: object, message: str, remedy: str = "") -> None:
        """Add a problem with a key."""
        shown = "" if value is None else repr(value)
        if len(shown) > _SHOWN:
            shown = f"{shown[:_SHOWN]}..."
        self.problems.append(
            Problem(path=f"{self._prefix}{key}", value=shown, message=message, remedy=remedy)
        )

    def get(self, *keys: str) -> object:
        """Return the first of these keys that is set, innermost first; None without."""
        for source in (self._values, self._outer):
            for key in keys:
                if source.get(key) is not None:
                    return source[key]
        return None

    def has(self, key: str) -> bool:
        """Whether a key is set."""
        return self.get(key) is not None

    def integer(self, *keys: str, default: int | None = None, low: int = 1) -> int:
        """Return an integer between `low` and `MOST`; without a default the key is required."""
        value = self.get(*keys)
        if value is None:
            if default is not None:
                return default
            self._missing(keys)
            return low
        if isinstance(value, bool) or not isinstance(value, int):
            self.note(keys[0], value, "an integer is needed")
            return low
        if not low <= value <= MOST:
            self.note(keys[0], value, f"outside {low} to {MOST:,}")
            return low
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return true or false."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.note(key, value, "true or false is needed")
            return default
        return value

    def text(self, key: str, default: str = "") -> str:
        """Return a text."""
        value = self.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            self.note(key, value, "a text is needed")
            return default
        return value

    def layers(self) -> int:
        """Return the number of layers; a list of layer types will do."""
        pattern = self.get("layers_block_type", "hybrid_override_pattern")
        default = len(pattern) if isinstance(pattern, Sequence) else None
        count = self.integer("num_hidden_layers", "n_layer", "n_layers", default=default)
        if count > MOST_LAYERS:
            self.note("num_hidden_layers", count, f"more than {MOST_LAYERS:,} layers")
            return 1
        return count

    def per_layer(self, key: str, layers: int, allowed: Sequence[object]) -> list[object] | None:
        """Return a list with one entry a layer, each one of `allowed`; None if it is not set."""
        value = self.get(key)
        if value is None:
            return None
        if isinstance(value, str) or not isinstance(value, Sequence):
            self.note(key, value, "a list with one entry a layer is needed")
            return None
        if len(value) < layers:
            self.note(key, len(value), f"{layers} entries are needed, one a layer")
            return None
        entries = list(value)[:layers]
        for index, entry in enumerate(entries):
            if entry not in allowed:
                self.note(f"{key}[{index}]", entry, "unknown kind", self._hint(entry, allowed))
                return None
        return entries

    def numbers(self, key: str, layers: int) -> list[int]:
        """Return a list of integers from 0, cut to one a layer; required."""
        return self._integers(key, layers)[:layers]

    def indices(self, key: str) -> list[int]:
        """Return a list of integers from 0 of any length; required."""
        return self._integers(key, 0)

    def _integers(self, key: str, least: int) -> list[int]:
        value = self.get(key)
        if value is None:
            self._missing((key,))
            return [0] * least
        if isinstance(value, list) and len(value) >= least:
            good = [entry for entry in value if type(entry) is int and 0 <= entry <= MOST]
            if len(good) == len(value):
                return good
        self.note(key, value, f"a list of {least or 'some'} integers is needed")
        return [0] * least

    def section(self, key: str) -> Reader:
        """Return a nested table that shares the list of problems; required."""
        value = self.get(key)
        if not isinstance(value, Mapping):
            if value is None:
                self._missing((key,))
            else:
                self.note(key, value, "a table is needed")
            value = {}
        inner = Reader(value)
        inner._prefix = f"{self._prefix}{key}."
        inner.problems = self.problems
        return inner

    def _missing(self, keys: Sequence[str]) -> None:
        others = f" (or {', '.join(keys[1:])})" if len(keys) > 1 else ""
        known = {*self._values, *self._outer}
        near = nearest(keys[0], known - set(keys), most=1)
        self.note(
            keys[0],
            None,
            f"missing{others}",
            f"is it written {did_you_mean(near)}?" if near else "",
        )

    @staticmethod
    def _hint(entry: object, allowed: Sequence[object]) -> str:
        near = nearest(str(entry), [str(item) for item in allowed])
        names = did_you_mean(near or [str(item) for item in allowed])
        return f"use {names}"
