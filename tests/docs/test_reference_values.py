"""docs/reference-values.md counts values that tests really assert."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference-values.md"


def rows():
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if "::" in line]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row[0]} {row[1][:20]}")
def test_the_test_named_beside_a_value_exists(row):
    path, name = row[5].split("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert name in found


def test_more_than_a_hundred_values_are_published_or_computed():
    published, computed, instance = (
        sum(int(row[column] or 0) for row in rows()) for column in (2, 3, 4)
    )
    assert published + computed >= 100
    assert published >= 25
    assert instance >= 1
