"""Run the tests of the optional groups; a group that is not there is one line with the reason.

Usage: python tools/test_extras.py dask ray rtl calibrate browser
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NO_TESTS_COLLECTED = 5
BRING_YOUR_OWN = {"calibrate": "torch"}
"""Gigabytes that depend on the accelerator: tested where they are, never installed here."""


def _declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return set(project["optional-dependencies"]) - {"dev"}


def _install(group: str) -> str:
    """Install a group; return why it cannot be, or nothing."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--quiet",
        "-c",
        "constraints.txt",
        "-e",
        f".[{group}]",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return lines[-1] if lines else "pip failed"


def _missing_system(group: str) -> str:
    """What a group needs from the system and does not find."""
    if group == "browser" and not any(map(shutil.which, ("chromium", "google-chrome"))):
        return "no Chromium on the PATH (Debian: apt-get install chromium)"
    module = BRING_YOUR_OWN.get(group)
    if module and importlib.util.find_spec(module) is None:
        return f"{module} is not here; install the build of your accelerator first"
    return ""


def main(groups: list[str]) -> int:
    """Test every group that is declared and can be installed."""
    declared, failed = _declared(), 0
    for group in groups:
        if group not in declared:
            print(f"{group}: nothing in this release uses it yet; no tests")
            continue
        reason = _missing_system(group) or _install(group)
        if reason:
            print(f"{group}: not installed: {reason}")
            continue
        command = [sys.executable, "-m", "pytest", "-q", "-m", f"extra_{group}", "tests"]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        if code not in (0, NO_TESTS_COLLECTED):
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
