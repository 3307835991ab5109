"""`nvnmd doctor`: tells what is missing, what for, and how to get it."""

from __future__ import annotations

import json

import pytest

from nvnmd.cli.main import main
from nvnmd.reports import doctor


def doctor_json(capsys, *argv: str) -> tuple[int, dict]:
    code = main(["doctor", *argv, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "nvnmd.doctor.1"
    return code, document


def test_a_command_that_works(capsys):
    code, found = doctor_json(capsys, "--for", "check")
    assert code == 0 and found["works"] and found["command"] == "check"
    assert {part["name"] for part in found["parts"]} == {"numpy", "vesin", "dargs", "rich"}
    assert all(part["works"] and part["version"] for part in found["parts"])


def test_a_missing_library(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "LIBRARIES", (
        *doctor.LIBRARIES, doctor.Library("no-such-thing", "no_such_module", "report")))
    monkeypatch.setitem(doctor.NEEDS, "plot", (("no_such_module",), ()))
    code, found = doctor_json(capsys, "--for", "plot")
    assert code == 1 and not found["works"] and found["disabled"] == ["plot"]
    (part,) = found["parts"]
    assert part["where"] == "not installed" and part["cure"] == "pip install 'nvnmd[report]'"
    assert main(["doctor", "--for", "plot"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [
        "no_such_module: without it no plot; pip install 'nvnmd[report]'",
        "plot: does not work"]
    # others are not touched, and without --for the exit code is 0
    assert doctor_json(capsys, "--for", "check")[0] == 0


def test_a_library_that_no_command_needs_as_a_whole(capsys, monkeypatch):
    # a use of `build`, say: the command works for other boards
    monkeypatch.setattr(doctor, "PROGRAMS", {})
    monkeypatch.setattr(doctor, "LIBRARIES", (doctor.Library("numpy", "numpy"),))
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "every command works"
    monkeypatch.setattr(doctor, "LIBRARIES", (
        doctor.Library("numpy", "numpy"), doctor.Library("none", "no_such_module", "synth")))
    monkeypatch.setitem(doctor.BETTER, "no_such_module", "bitstreams")
    assert main(["doctor"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "no_such_module: without it no bitstreams; pip install 'nvnmd[synth]'",
        "every command works, but for the uses named above"]


def test_a_broken_library(capsys, monkeypatch, tmp_path):
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('made so')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(doctor, "LIBRARIES", (doctor.Library("broken", "broken_module"),))
    monkeypatch.setitem(doctor.NEEDS, "plot", (("broken_module",), ()))
    code, found = doctor_json(capsys, "--for", "plot")
    assert code == 1
    assert found["parts"][0]["where"] == "cannot be imported: RuntimeError: made so"


def test_a_missing_program(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("NVNMD_MAKE", str(tmp_path / "none"))
    monkeypatch.setitem(doctor.NEEDS, "simulate", ((), ("make",)))
    code, found = doctor_json(capsys, "--for", "simulate")
    assert code == 1 and found["disabled"] == ["simulate", "demo"]
    (part,) = found["parts"]
    assert part["kind"] == "program" and "NVNMD_MAKE" in part["where"]
    assert "needs" not in part["where"] and part["needs"] == "4 or later"


@pytest.mark.parametrize(("version", "needs", "right"), [
    ("0.5.1", "==0.5.1", True), ("0.5.2", "==0.5.1", False), ("2.4.6", ">=2.0", True),
    ("1.26", ">=2.0", False), ("2.0.0", "==2.0", True), ("13", ">=13", True), ("1", "", True),
    ("0.50.0.0.post130", "==0.50.0.0.post130", True)])
def test_versions(version, needs, right):
    assert doctor.satisfies(version, needs) == right


def test_unknown_command(capsys):
    assert main(["doctor", "--for", "simulat"]) == 2
    assert "--for: got 'simulat': the nearest is simulate" in capsys.readouterr().err
    assert main(["doctor", "--for", "xyz"]) == 2
    assert "--for: got 'xyz', expected one of init, check" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion(shell, capsys):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    for word in ("train-cnn", "doctor", "json"):
        assert word in text


def test_bash_completes(tmp_path, capsys):
    import shutil
    import subprocess

    pytest.importorskip("shtab")
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)

    def complete(*words: str) -> list[str]:
        script = (f"source {tmp_path / 'script'}\nCOMP_WORDS=({' '.join(words)})\n"
                  f"COMP_CWORD={len(words) - 1}\n_shtab_nvnmd\nprintf '%s\\n' ${{COMPREPLY[@]}}")
        done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
        return done.stdout.split()

    assert complete("nvnmd", "train") == ["train-cnn", "train-qnn"]
    assert "--json" in complete("nvnmd", "doctor", "--")
