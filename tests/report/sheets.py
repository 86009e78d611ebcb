"""A small evaluator of the formulas our workbook writes, independent of what wrote them."""

import re

import numpy as np

RANGE = re.compile(r"\$?([A-Z]+)\$?(\d+):\$?([A-Z]+)\$?(\d+)")
CELL = re.compile(r"(?:(?:'([^']+)'|([A-Za-z]+))!)?\$?([A-Z]{1,3})\$?(\d+)(?![\d(])")


def number(letters):
    total = 0
    for letter in letters:
        total = total * 26 + ord(letter) - ord("A") + 1
    return total


class Sheets:
    """Formulas of a workbook, worked out on demand; `changed` replaces typed-in cells."""

    def __init__(self, book, changed=None):
        self.book, self.known = book, dict(changed or {})

    def value(self, sheet, cell):
        key = (sheet, cell)
        if key not in self.known:
            raw = self.book[sheet][cell].value
            if isinstance(raw, str) and raw.startswith("="):
                raw = self.work_out(sheet, raw[1:])
            self.known[key] = 0.0 if raw is None else raw
        return self.known[key]

    def work_out(self, sheet, formula):
        names = {"SUM": total, "SUMPRODUCT": product, "ABS": np.abs, "ROUND": np.round}

        def block(found):
            first, top, last, bottom = found.groups()
            rows = self.book[sheet].iter_rows(
                min_row=int(top), max_row=int(bottom), min_col=number(first), max_col=number(last)
            )
            cells = [float(self.value(sheet, one.coordinate)) for row in rows for one in row]
            return f"array({cells!r})"

        def single(found):
            quoted, plain, letters, row = found.groups()
            return repr(float(self.value(quoted or plain or sheet, f"{letters}{row}")))

        text = RANGE.sub(block, formula)
        text = "".join(
            part if part.startswith("array(") else CELL.sub(single, part)
            for part in re.split(r"(array\(\[.*?\]\))", text)
        )
        text = text.replace("^-", "**-").replace("^", "**")
        return eval(text, {"__builtins__": {}, "array": np.array} | names)  # noqa: S307  our own


def total(*parts):
    return float(sum(np.sum(one) for one in parts))


def product(*arrays):
    total = arrays[0]
    for one in arrays[1:]:
        total = total * one
    return float(np.sum(total))
