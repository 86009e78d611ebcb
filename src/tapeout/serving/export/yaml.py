"""A small writer of YAML: block style, every string quoted unless it is a plain word.

Nothing is ever read as a number, a date or a boolean by accident, and what does not print is
escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_READ_OTHERWISE = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # by YAML 1.1


def to_yaml(*documents: Mapping[str, object]) -> str:
    """Documents of mappings, lists, strings, numbers and booleans as YAML.

    Examples
    --------
    >>> print(to_yaml({"kind": "Pod", "spec": {"ports": [{"port": 80}], "on": "1"}}), end="")
    kind: Pod
    spec:
      ports:
        - port: 80
      "on": "1"
    """
    return "---\n".join("\n".join(_mapping(one, "")) + "\n" for one in documents)


def _mapping(table: Mapping[str, object], indent: str) -> Iterator[str]:
    for key, value in table.items():
        name = f"{indent}{_text(key)}:"
        if isinstance(value, Mapping | list | tuple) and value:
            yield name
            yield from _block(value, indent + "  ")
        else:
            yield f"{name} {_scalar(value)}"


def _block(value: object, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from _mapping(value, indent)
    elif isinstance(value, Sequence):
        yield from _list(value, indent)


def _list(items: Sequence[object], indent: str) -> Iterator[str]:
    for item in items:
        if isinstance(item, Mapping | list | tuple) and item:
            first, *rest = _block(item, indent + "  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield f"{indent}- {_scalar(item)}"


def _scalar(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return "{}"
    if isinstance(value, list | tuple):
        return "[]"
    return json.dumps(value, allow_nan=False)


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _READ_OTHERWISE:
        return text
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"
