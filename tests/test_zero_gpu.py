"""ZeroGPU: one GPU function is registered there before the launch, and the package `spaces` is needed nowhere else."""

import sys
import threading
import types

import pytest

from exprgan.ui import page
from exprgan.ui.zero_gpu import register_gpu_function


@pytest.fixture
def events(monkeypatch):
    """What a start of the page does, in order, with a stand-in of `spaces`; nothing is loaded or served."""
    events = []
    spaces = types.ModuleType("spaces")
    spaces.GPU = lambda function: events.append(function.__name__) or function
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    monkeypatch.setattr(page, "load_editor", lambda model: events.append("load") or ("editor", ""))
    monkeypatch.setattr(page, "build_app", lambda editor, note: "app")
    monkeypatch.setattr(page, "serve", lambda app: events.append("launch"))
    monkeypatch.setattr(page.signal, "signal", lambda *_: None)
    monkeypatch.setattr(threading.Timer, "start", lambda timer: None)
    return events


@pytest.mark.parametrize("value", ["true", "1"])
def test_on_zero_gpu_one_function_is_registered_before_the_launch(events, monkeypatch, value):
    monkeypatch.setenv("SPACES_ZERO_GPU", value)
    page.main()
    assert events == ["gpu_name", "load", "launch"]


def test_elsewhere_nothing_is_registered(events, monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    monkeypatch.setitem(sys.modules, "spaces", None)  # cannot be imported
    page.main()
    assert events == ["load", "launch"]


def test_without_the_package_a_warning_names_the_remedy(monkeypatch, caplog):
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(sys.modules, "spaces", None)
    register_gpu_function()
    assert "add the line `spaces` to requirements.txt" in caplog.text
