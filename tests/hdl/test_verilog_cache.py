"""The Verilog of a configuration is written once, and anew where anything of it has changed."""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

pytest.importorskip("amaranth")

from nvnmd.boards import simulated
from nvnmd.hdl import verilog
from nvnmd.hdl.params import AcceleratorConfig


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A cache of its own, and what has been written by Yosys so far."""
    calls: list[str] = []

    def to_verilog(component, name):
        calls.append(name)
        return f"module {name}; // Å {component.cfg.fold}"

    monkeypatch.setenv("NVNMD_CACHE", str(tmp_path))
    monkeypatch.setattr(verilog, "to_verilog", to_verilog)
    monkeypatch.setattr("nvnmd.hdl.axi.Accelerator", lambda cfg: SimpleNamespace(cfg=cfg))
    return calls


def text_of(cfg):
    """As a new process would ask for it."""
    verilog.generate_verilog.cache_clear()
    try:
        return verilog.generate_verilog(cfg)
    finally:
        verilog.generate_verilog.cache_clear()


def test_kept_until_something_changes(written, tmp_path, monkeypatch):
    cfg = AcceleratorConfig()
    text = text_of(cfg)
    assert text.endswith("// Å 32") and text == text_of(cfg) and len(written) == 1
    other = text_of(replace(cfg, fold=16))
    assert other != text and len(written) == 2
    monkeypatch.setattr(verilog, "_sources", lambda: "edited")
    assert text_of(cfg) == text and len(written) == 3
    version = importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.version",
                        lambda name: "0.6" if name == "amaranth" else version(name))
    assert text_of(cfg) == text and len(written) == 4
    assert len(list((tmp_path / "verilog").glob("*.v.gz"))) == 4


def test_a_board_is_kept_too(monkeypatch, tmp_path):
    """The simulated board's text is written once for all processes; other sizes are another's."""
    calls: list[int] = []

    def to_verilog(board, name):
        calls.append(board.cfg.fold)
        return f"module {name}; // {board.cfg.fold}"

    monkeypatch.setenv("NVNMD_CACHE", str(tmp_path))
    monkeypatch.setattr(simulated, "to_verilog", to_verilog)
    monkeypatch.setattr(simulated, "FlatBoard", lambda board: board)
    monkeypatch.setattr(simulated, "LinkedAccelerator", lambda cfg, *_: SimpleNamespace(cfg=cfg))

    def text(cfg):
        # as a new process would ask for it
        return simulated._board_verilog.__wrapped__(cfg)

    cfg = AcceleratorConfig()
    other = replace(cfg, fold=16)
    assert text(cfg) == text(cfg) == "module nvnmd_board; // 32" and calls == [32]
    assert text(other) == "module nvnmd_board; // 16" and calls == [32, 16]
    monkeypatch.setattr(simulated, "WORDS", 64)
    assert text(other) == "module nvnmd_board; // 16" and calls == [32, 16, 16]


@pytest.mark.parametrize("damage", [
    b"", b"no gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b"])
def test_damaged_file_is_written_anew(written, tmp_path, damage):
    cfg = AcceleratorConfig()
    text = text_of(cfg)
    (file,) = (tmp_path / "verilog").iterdir()
    file.write_bytes(damage)
    assert text_of(cfg) == text and len(written) == 2
    assert text_of(cfg) == text and len(written) == 2


def test_used_longest_ago_goes_first(written, tmp_path, monkeypatch):
    monkeypatch.setattr(verilog, "KEPT", 2)
    folds = [replace(AcceleratorConfig(), fold=fold) for fold in (1, 2, 4)]
    for age, cfg in enumerate(folds[:2]):
        text_of(cfg)
        new = max((tmp_path / "verilog").iterdir(), key=lambda file: file.stat().st_mtime)
        os.utime(new, (1e9 + age, 1e9 + age))
    text_of(folds[0])
    text_of(folds[2])
    assert len(list((tmp_path / "verilog").iterdir())) == 2
    text_of(folds[0])
    assert len(written) == 3
    text_of(folds[1])
    assert len(written) == 4
