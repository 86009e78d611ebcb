"""The shape of the code: one direction of imports, sizes, named factors, a light start."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "tapeout"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_MODULE = 600
LONGEST_FUNCTION = 80

HEAVY = ("numba", "scipy", "altair", "polars")
LOADED = """
import sys
sys.argv = ["tapeout", "--help"]
from tapeout.cli.main import run
try:
    run()
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", *sorted({name.partition(".")[0] for name in sys.modules}))
"""


def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def named(path, node):
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def tracked():
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("needs the git checkout")
    out = subprocess.run(
        [git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in out.stdout.split("\0") if name]


def test_the_import_contract_holds():
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, "run .venv/bin/lint-imports"


def test_every_room_stands_in_the_import_contract():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = settings["tool"]["importlinter"]["contracts"]
    layers = {
        room.strip("() ") for layer in contract["layers"] for room in layer.split("|")
    }  # fmt: skip
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert rooms | modules <= layers


def test_a_room_imports_absolutely():
    relative = [
        named(path, node) for path in MODULES for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and node.level
    ]  # fmt: skip
    assert not relative


def test_only_kernel_modules_import_numba():
    importing = [
        named(path, node) for path in MODULES if path.name != "_kernels.py"
        for node in ast.walk(tree(path)) if "numba" in _imported(node)
    ]  # fmt: skip
    assert not importing


def _imported(node):
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module:
        return {node.module.partition(".")[0]}
    return set()


def test_the_help_screen_starts_light():
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "decide" in done.stdout
    loaded = done.stdout.rpartition("loaded:")[2].split()
    assert not set(HEAVY) & set(loaded)


# sizes


def test_no_module_is_longer_than_a_long_read():
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in MODULES
    }
    assert not {name: size for name, size in lengths.items() if size > LONGEST_MODULE}


def test_no_function_is_longer_than_a_screen():
    long = [
        f"{named(path, node)} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path in MODULES for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
    ]  # fmt: skip
    assert not long


# units


FACTORS = {
    1e3, 1e6, 1e9, 1e12, 1e15, 1e18, 1e-3, 1e-6, 1e-9, 1e-12, 60.0, 3600.0, 86_400.0, 31_536_000.0,
    365.0, 365.25, 8760.0, 2190.0, 1024.0, 2.0**20, 2.0**30, 2.0**40, 3.6e6,
}  # fmt: skip
BINARY = {2**10, 2**20, 2**30, 2**40}


def test_conversion_factors_have_names():
    """A number times or over a bare 1e9 or 3600 hides a unit: write its name of `constants`.

    They are found in products, quotients and remainders; a tolerance in a comparison or a bound
    that scales nothing is none. 2**30 is found anywhere.
    """
    found = [
        f"{named(path, node)}: {ast.unparse(node)}"
        for path in MODULES if path.name != "constants.py"
        for node in ast.walk(tree(path)) if _converts(node)
    ]  # fmt: skip
    assert not found, "use tapeout.constants:\n" + "\n".join(found)


def _converts(node):
    if not isinstance(node, ast.BinOp):
        return False
    if isinstance(node.op, ast.Pow):
        return _number(node) in BINARY
    if isinstance(node.op, ast.Mult | ast.Div | ast.FloorDiv | ast.Mod):
        return _number(node.left) in FACTORS or _number(node.right) in FACTORS
    return False


def _number(node):
    """Value of a literal, or of a literal power such as 10**9."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        base, power = _number(node.left), _number(node.right)
        return None if base is None or power is None or power > 100 else base**power
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return None if isinstance(node.value, bool) else node.value
    return None


@pytest.mark.parametrize(
    ("code", "hides"),
    [
        ("x * 1e9", True),
        ("3600 * x", True),
        ("x / 8760", True),
        ("size // 1024", True),
        ("x * 2**30", True),
        ("abs(x) < 1e-9", False),
        ("max(x, 1e-9)", False),
        ("x * 10**9", True),
        ("MOST = 10**9", False),
        ("x * 12", False),
    ],
)
def test_the_search_for_factors_finds_what_it_should(code, hides):
    assert any(_converts(node) for node in ast.walk(ast.parse(code))) is hides


# text


def test_nothing_prints_but_the_command_line():
    printing = [
        named(path, node) for path in MODULES if "cli" not in path.relative_to(PACKAGE).parts
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]  # fmt: skip
    assert not printing


def test_every_public_name_says_what_it_is():
    silent = []
    for path in MODULES:
        module = tree(path)
        if not ast.get_docstring(module) and module.body:
            silent.append(str(path.relative_to(ROOT)))
        silent += [
            f"{named(path, node)} {node.name}" for node in _public(module)
            if not ast.get_docstring(node)
        ]  # fmt: skip
    assert not silent


def _public(module):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in module.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                for inner in node.body:
                    if isinstance(inner, kinds) and not inner.name.startswith("_"):
                        yield inner


def test_no_unfinished_business_is_left():
    words = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in MODULES for line in path.read_text(encoding="utf-8").splitlines()
        if words.search(line)
    ]  # fmt: skip
    assert not found


TEXT = {
    ".py", ".toml", ".md", ".txt", ".json", ".csv", ".yml", ".yaml", ".cfg", ".html", ".css", ".js",
    ".j2", ".sh", "",
}  # fmt: skip
MACHINE = [
    r"(?<![\w./])/" + "work/",
    r"(?<![\w.])/" + "home/",
    r"(?<![\w.])/" + "root/",
    r"(?<![\w.])/" + "Users/",
    "files.python" + "hosted.org",
    r"\bpypi\." + "org/simple",
    "index" + "-url",
    "artifact" + "ory",
    r"\.inter" + r"nal\b",
]


def test_no_file_names_a_machine_or_a_registry():
    pattern = re.compile("|".join(MACHINE))
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked() if path.suffix in TEXT and path.is_file()
        for number, line in enumerate(_lines(path), 1)
        if pattern.search(line)
    ]  # fmt: skip
    assert not found


def _lines(path):
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


def test_every_file_of_the_package_is_tracked_and_so_in_the_wheel():
    """The wheel takes what lies under src/tapeout and git does not ignore."""
    known = set(tracked())
    stray = [
        str(path.relative_to(ROOT)) for path in PACKAGE.rglob("*")
        if path.is_file() and path not in known and "__pycache__" not in path.parts
        and _is_ignored(path)
    ]  # fmt: skip
    assert not stray


def _is_ignored(path):
    git = shutil.which("git")
    asked = [git, "check-ignore", "-q", str(path)]
    return subprocess.run(asked, cwd=ROOT, check=False).returncode == 0


def test_data_of_the_package_is_there():
    suffixes = {path.suffix for path in tracked() if PACKAGE in path.parents}
    assert {".csv", ".json", ".toml"} <= suffixes
