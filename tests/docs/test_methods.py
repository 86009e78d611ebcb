"""Every worked example of docs/methods prints what stands below it."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).parents[2] / "docs" / "methods").glob("*.md"))
EXAMPLE = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n(?P<printed>.*?)```", re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_a_worked_example_that_prints_what_it_says(page):
    found = list(EXAMPLE.finditer(page.read_text(encoding="utf-8")))
    assert found, "no worked example"
    names: dict = {"__name__": "example"}
    for example in found:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(example["code"], page.name, "exec"), names)  # noqa: S102  our own pages
        assert printed.getvalue().rstrip() == example["printed"].rstrip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_it_assumes_and_when_not_to_use_it(page):
    text = page.read_text(encoding="utf-8")
    for part in ("**Formula.**", "**Assumptions.**", "**When not to use it.**"):
        assert part in text, part
