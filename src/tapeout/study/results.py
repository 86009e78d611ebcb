"""What a study yields: a folder of Parquet and JSON, byte-equal for the same inputs.

`manifest.json`, `verdict.json` and the tables are the same for the same scenario, release, seed
and machine type; time, host and duration go into `run.json` beside them.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from tapeout.errors import Problem, ProblemsError

SCHEMA = 1
TABLES = (
    "inputs",
    "totals",
    "cashflow",
    "boundary",
    "capacity",
    "sensitivity",
    "savings",
    "statements",
)
FILES = ("manifest.json", "verdict.json", "run.json", *(f"{name}.parquet" for name in TABLES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Everything a report needs; nothing else may be read.

    Attributes
    ----------
    manifest : mapping
        Scenario and source hashes, releases, seed, draws, versions, schema number.
    verdict : mapping
        Sentences and small tables; see docs/results.md.
    tables : mapping of name to DataFrame
        `inputs, totals, cashflow, boundary, capacity, sensitivity, savings,
        statements`.
    run : mapping
        When, where and how long; differs between runs.
    """

    manifest: Mapping[str, Any]
    verdict: Mapping[str, Any]
    tables: Mapping[str, pl.DataFrame]
    run: Mapping[str, Any]

    def write(self, folder: Path) -> None:
        """Write the folder, all or nothing: a temporary folder is renamed at the end.

        Raises
        ------
        ProblemsError
            The target exists and is not a results folder.
        """
        folder = folder.absolute()
        if folder.exists() and not _is_replaceable(folder):
            raise ProblemsError(
                f"results {folder}",
                [
                    Problem(
                        path=str(folder),
                        value="",
                        message="exists and holds something else",
                        remedy="name an empty or new folder with --out",
                    )
                ],
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            write_json(fresh / "manifest.json", self.manifest)
            write_json(fresh / "verdict.json", self.verdict)
            write_json(fresh / "run.json", self.run)
            for name, table in self.tables.items():
                table.write_parquet(fresh / f"{name}.parquet", compression="zstd", statistics=False)
            fresh.chmod(0o755)
            _swap(fresh, folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise


def _is_replaceable(folder: Path) -> bool:
    """Whether a path is an empty folder, or one with results of this program."""
    if not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and {"schema", "tapeout"} <= set(manifest)


def _swap(fresh: Path, folder: Path) -> None:
    """Put the fresh folder where the old one is; at every moment one of them is whole.

    Files of others, a report perhaps, stay where they are.
    """
    if not folder.exists():
        fresh.rename(folder)
        return
    old = fresh.with_name(f"{fresh.name}.old")
    folder.rename(old)
    try:
        fresh.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    for path in old.iterdir():
        if path.name not in FILES:
            path.rename(folder / path.name)
    shutil.rmtree(old)


def plain(value: Any) -> Any:
    """JSON-ready copy: numpy numbers become Python's, nan and infinity become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def to_json(value: Any) -> str:
    """Text of a JSON document, keys sorted."""
    return json.dumps(plain(value), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document through a temporary name."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(to_json(value), encoding="utf-8")
    partial.replace(path)


def read_results(folder: Path) -> Results:
    """Read a results folder.

    Raises
    ------
    ProblemsError
        A file is missing or of another schema.
    """
    missing = [name for name in ("manifest.json", "verdict.json") if not (folder / name).is_file()]
    missing += [f"{name}.parquet" for name in TABLES if not (folder / f"{name}.parquet").is_file()]
    if missing:
        raise ProblemsError(
            f"results {folder}",
            [
                Problem(path=name, value="", message="missing", remedy="run `tapeout decide` again")
                for name in missing
            ],
        )
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    if manifest.get("schema") != SCHEMA:
        raise ProblemsError(
            f"results {folder}",
            [
                Problem(
                    path="manifest.schema",
                    value=str(manifest.get("schema")),
                    message=f"this release reads schema {SCHEMA}",
                    remedy="run `tapeout decide` again",
                )
            ],
        )
    run = folder / "run.json"
    return Results(
        manifest=manifest,
        verdict=json.loads((folder / "verdict.json").read_text("utf-8")),
        tables={name: pl.read_parquet(folder / f"{name}.parquet") for name in TABLES},
        run=json.loads(run.read_text("utf-8")) if run.is_file() else {},
    )
