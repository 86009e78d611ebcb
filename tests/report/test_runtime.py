import builtins
import sys
import types

import pytest

from tapeout.report import runtime

BUNDLE = 'window.vegaEmbed=1;var a="</script>";'


@pytest.fixture
def engine(monkeypatch):
    """Stands in for vl-convert and counts how often it is started."""
    calls: list[str] = []

    def bundle(snippet: str) -> str:
        calls.append(snippet)
        return BUNDLE

    monkeypatch.setitem(sys.modules, "vl_convert", types.SimpleNamespace(javascript_bundle=bundle))
    runtime.vega_bundle.cache_clear()
    yield calls
    runtime.vega_bundle.cache_clear()


def test_an_empty_cache_is_filled_once_and_then_read(engine, tmp_path):
    target = tmp_path / "new" / "vega.js"
    first = runtime.vega_bundle(target)
    runtime.vega_bundle.cache_clear()
    assert runtime.vega_bundle(target) == first == target.read_text("utf-8")
    assert len(engine) == 1
    assert [path.name for path in target.parent.iterdir()] == ["vega.js"]


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(engine, tmp_path):
    """A file stands where the folder should be, which stops the superuser too."""
    (tmp_path / "cache").write_text("not a folder")
    assert "vegaEmbed" in runtime.vega_bundle(tmp_path / "cache" / "vega.js")
    assert len(engine) == 1


@pytest.mark.usefixtures("engine")
def test_a_file_that_cannot_be_replaced_leaves_no_rest(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(runtime.Path, "replace", refuse)
    assert "vegaEmbed" in runtime.vega_bundle(tmp_path / "vega.js")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_cache_is_made_anew(engine, tmp_path):
    target = tmp_path / "vega.js"
    target.write_bytes(b"\xff\xfe half a file")
    assert "vegaEmbed" in runtime.vega_bundle(target)
    assert "vegaEmbed" in target.read_text("utf-8")
    assert len(engine) == 1


@pytest.mark.usefixtures("engine")
def test_the_bundle_cannot_end_its_script_element(tmp_path):
    assert "</script" not in runtime.vega_bundle(tmp_path / "vega.js")


def test_the_cache_folder_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv("TAPEOUT_CACHE_DIR", str(tmp_path))
    assert runtime.bundle_path().parent == tmp_path
    assert runtime.bundle_path().name.startswith("vega-")


def test_the_real_bundle_is_read_without_starting_the_engine_when_cached(tmp_path, monkeypatch):
    target = tmp_path / "vega.js"
    target.write_text(BUNDLE, "utf-8")
    real = builtins.__import__

    def guarded(name, *rest, **named):
        assert name != "vl_convert", "the engine was started"
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", guarded)
    runtime.vega_bundle.cache_clear()
    assert runtime.vega_bundle(target) == BUNDLE
    runtime.vega_bundle.cache_clear()
