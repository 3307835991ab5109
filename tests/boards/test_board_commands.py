"""`nvnmd boards`, `build`, `upload`, `test --backend board`, `simulate --on sim-board`."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed")

from support.board_cases import SMALL, BoardProcess, board_file, crystal, potential
from support.sized_models import sized_model

from nvnmd.boards import upload
from nvnmd.boards.application import ATOMS_HEAD
from nvnmd.boards.build import build
from nvnmd.boards.catalog import NAMES, all_boards, find_board
from nvnmd.boards.ecp5 import critical_path, read_report
from nvnmd.boards.fit import DEEPMD_MODELS, Need, check_fit, link_words, need_of
from nvnmd.cli import boards as commands
from nvnmd.cli.main import main
from nvnmd.errors import InputError, NvnmdError
from nvnmd.hdl.budget import FAMILIES
from nvnmd.hdl.export import config_for
from nvnmd.hdl.presets import preset

ECP5 = FAMILIES[0]
FOLDS = ["--fold", "2", "--fit-cols", "4"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.nvnmd"
    potential().network.save(path)
    return path


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """One frame with the labels of `fixed`."""
    folder = tmp_path_factory.mktemp("data") / "made"
    coord, box, types = crystal(2)
    found = potential().evaluate(coord, box, types)
    (folder / "set.000").mkdir(parents=True)
    np.savetxt(folder / "type.raw", types, fmt="%d")
    (folder / "type_map.raw").write_text("\n".join(potential().type_map) + "\n")
    for name, value in {"coord": coord, "box": box, "energy": found.energy, "force": found.force,
                        "virial": found.virial}.items():
        np.save(folder / "set.000" / f"{name}.npy", value.reshape(1, -1))
    return folder


def error_of(capsys, *argv: str, code: int = 2) -> str:
    assert main(list(argv)) == code
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_table_of_boards(capsys):
    assert commands.NAMES == NAMES == tuple(board.name for board in all_boards())
    assert main(["boards"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in NAMES) and "no physical board was touched" in out


def test_unknown_boards_and_wrong_words(capsys, model, tmp_path):
    with pytest.raises(InputError, match="got 'de10', expected one of sim, ulx3s-85f"):
        find_board("de10")
    assert "expected --bitstream, --model or both" in error_of(capsys, "upload")
    assert "no such file, expected the bitstream" in error_of(
        capsys, "upload", "--board", "ulx3s-85f", "--bitstream", str(tmp_path / "top.bit"))
    assert "takes none, expected a board with an FPGA" in error_of(
        capsys, "upload", "--bitstream", str(model))
    assert "expected the serial port of ulx3s-85f" in error_of(
        capsys, "upload", "--board", "ulx3s-85f", "--model", str(model))
    assert "expected one of them" in error_of(capsys, "build", "-o", str(tmp_path / "out"))
    assert "expected sim, HOST:PORT" in error_of(
        capsys, "upload", "--model", str(model), "--serial", "nowhere")
    assert "expected a folder of `nvnmd build --board sim`" in error_of(
        capsys, "boards", "--run", str(tmp_path))
    (tmp_path / "file").touch()
    assert "no earlier build, expected a new folder" in error_of(
        capsys, "build", "--echo", "-o", str(tmp_path))


def test_models_that_do_not_fit_are_refused():
    board = find_board("ulx3s-85f")
    model = potential().network
    check_fit(config_for(model, **SMALL), board)
    cfg = config_for(model, fold=1, fit_cols=16, fit_rows=8)
    with pytest.raises(InputError, match=r"ulx3s-85f: NVNMD version 0, 2 types, 128 neighbours "
                                         r"with fold 1 and 128 fitting multipliers take \d+ of 156 "
                                         r"MULT18X18D, \d+ of 208 DP16KD, [\d,]+ memory bits "
                                         r"where its blocks have 3,833,856; expected a smaller"):
        check_fit(cfg, board)
    limits = [Need(*blocks, 0, ECP5, board).fits
              for blocks in ((156, 208), (157, 208), (156, 209))]
    assert limits == [True, False, False]


def test_an_upload_refuses_what_no_fold_makes_fit(model, capsys, monkeypatch):
    """Before anything is opened, and with the figures of the smallest accelerator."""
    small = replace(find_board("ulx3s-85f"), memories=20)
    monkeypatch.setattr("nvnmd.boards.catalog.find_board", lambda name: small)
    line = error_of(capsys, "upload", "--board", "ulx3s-85f", "--model", str(model),
                    "--serial", "/dev/none")
    assert re.search(r"fold 8 and 4 fitting multipliers take \d+ of 156 MULT18X18D, "
                     r"\d+ of 20 DP16KD", line)


def test_the_longest_list_passes_the_link():
    """Of every number of neighbours that a model may have, at most."""
    cfg = config_for(potential().network, **SMALL)
    for neighbors, words in ((32, 1024), (128, 1024), (256, 2048)):
        assert link_words(replace(cfg, max_nnei=neighbors, store_neighbors=512)) == words
        assert words >= max(ATOMS_HEAD + 4 * neighbors, ATOMS_HEAD + 1 + 4 * neighbors)


def test_boards_that_take_models_of_deepmd_kit(capsys, monkeypatch):
    """A full-size accelerator of one net takes a Kintex-7; the line has what `need_of` counts."""
    monkeypatch.setattr("nvnmd.boards.fit.DEEPMD_MODELS", DEEPMD_MODELS[:1])
    assert main(["boards", "--models", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    takes = {row["board"]: row["takes"] for row in document["models"]}
    assert takes == {"ulx3s-85f": False, "ecpix5-85f": False, "kc705": True, "genesys2": True,
                     "vcu118": True}
    row = next(row for row in document["models"] if row["board"] == "kc705")
    need = need_of(replace(DEEPMD_MODELS[0].config(), family="7-series"), find_board("kc705"))
    assert (row["multipliers"], row["memories"], row["bits"], row["bits_available"]) == (
        need.multipliers, need.memories, need.bits, 445 * 36864)
    assert main(["boards", "--models"]) == 0
    assert re.search(r"0 +up to 1 +128 +kc705 .* of 840 DSP48E1 .* yes", capsys.readouterr().out)
    assert "expected one of the two" in error_of(capsys, "boards", "--models", "--model", "m")


@pytest.mark.parametrize("model", [DEEPMD_MODELS[1], DEEPMD_MODELS[-2]])
def test_the_accelerator_counted_is_that_of_a_model_of_full_size(model):
    types = min(model.types, 4) if model.version == 0 else model.types
    full = sized_model(32, 4, 3, model.neighbors, version=model.version, ntypes=types)
    assert model.config() == preset("small").config(full)


def test_bitstreams_go_through_the_loader(tmp_path, monkeypatch, capsys):
    """What it is started with; its exit code and message; hints; nothing on a dry run."""
    bitstream, loader = tmp_path / "top.bit", tmp_path / "openFPGALoader"
    bitstream.write_bytes(b"bits")

    def loads(script: str) -> None:
        loader.write_text("#!/bin/sh\n"
                          "[ \"$1\" = --Version ] && echo openFPGALoader v1.1.1 && exit\n"
                          f"echo \"$@\" > {tmp_path}/given\n{script}\n")
        loader.chmod(loader.stat().st_mode | stat.S_IXUSR)

    monkeypatch.setenv("NVNMD_OPENFPGALOADER", str(loader))
    argv = ["upload", "--board", "ulx3s-85f", "--bitstream", str(bitstream)]
    loads("echo done")
    assert main([*argv, "--dry-run"]) == 0 and not (tmp_path / "given").exists()
    assert main([*argv, "--cable", "ft232", "--flash"]) == 0
    assert (tmp_path / "given").read_text().split() == [
        "--board", "ulx3s", "--cable", "ft232", "--write-flash", str(bitstream)]
    capsys.readouterr()
    for told, hint in (("unable to open ftdi device: -3", "is the cable plugged in"),
                       ("libusb: error 13", "libusb-1.0"), ("Error: nothing known", "")):
        loads(f"echo '{told}' >&2; exit 3")
        line = error_of(capsys, *argv, code=1)
        assert f"openFPGALoader failed (exit code 3): {told}" in line and hint in line
        assert bool(hint) == ("; " in line)
    assert upload.loader_arguments(find_board("ecpix5-85f"), bitstream) == [
        "--board", "ecpix5", "--write-sram", str(bitstream)]


def test_a_board_that_was_built_runs_and_takes_models(model, system, tmp_path, capsys):
    """build, boards --run, upload, test and simulate over its port; ended by SIGTERM."""
    out = tmp_path / "board"
    assert main(["build", str(model), "-o", str(out), *FOLDS]) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["model_digest"] == potential().network.digest
    assert set(report["files"]) == {"nvnmd_board", "model.bin"}
    assert str(report["cycles_per_atom"]) in capsys.readouterr().out
    process = subprocess.Popen([sys.executable, "-P", "-m", "nvnmd", "boards", "--run", str(out)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        where = process.stdout.readline().strip()
        assert re.fullmatch(r"127\.0\.0\.1:\d+", where)
        assert main(["upload", "--model", str(model), "--serial", where]) == 0
        assert f"{where}: holds {model}; memories read back, digest " in capsys.readouterr().out
        # loaded already: no byte of the image is sent again
        assert main(["upload", "--model", str(model), "--serial", where]) == 0
        sent = int(re.search(r"(\d+) bytes sent", capsys.readouterr().out)[1])
        # but for the requests of the digest, so many as the simulation is slow
        assert sent < 2_000
        assert main(["test", "-m", str(model), "-s", str(system), "--backend", "board",
                     "--board", where, "--json"]) == 0
        errors = json.loads(capsys.readouterr().out)["average"]
        assert {errors[name]["rmse"] for name in ("energy", "force", "virial")} == {0.0}
        assert main(["simulate", str(model), "-s", str(system), "--on", "sim-board", "--board",
                     where, "-o", str(tmp_path / "sim"), *FOLDS]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert any(re.fullmatch(r"board: 8 atoms, \d+ words compared, 0 differ", line)
                   for line in lines)
        found = json.loads((tmp_path / "sim" / "board.json").read_text())
        assert found["words_differing"] == 0 < found["words_compared"]
    finally:
        # a shell's background jobs may ignore Ctrl-C
        process.terminate()
        assert process.wait(timeout=60) == 143
        process.stdin.close()
        process.stdout.close()


def test_a_word_that_differs_is_counted(model, system, tmp_path, capsys, monkeypatch):
    """A reply changed on its way past the check: the line says so, and the exit code is 1."""
    from nvnmd.boards import client

    plain = client.Board.words

    def wrong(self, stimulus):
        found = plain(self, stimulus)
        found.deriv[3, 1] ^= 1
        return found

    monkeypatch.setattr(client.Board, "words", wrong)
    with BoardProcess(board_file()) as process:
        assert main(["simulate", str(model), "-s", str(system), "--on", "sim-board", "--board",
                     f"127.0.0.1:{process.port}", "-o", str(tmp_path / "sim"), *FOLDS]) == 1
    assert re.search(r"board: 8 atoms, \d+ words compared, 1 differ\b", capsys.readouterr().out)


def test_a_build_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    from nvnmd.boards import simulated

    def stop(*_):
        raise NvnmdError("no room")

    monkeypatch.setattr(simulated, "board_program", stop)
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text("old")
    with pytest.raises(NvnmdError, match="no room"):
        build(potential().network, find_board("sim"), out, fold=2, fit_cols=4)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (out / "report.json").read_text() == "old"


def test_a_tool_that_fails_leaves_its_logs(tmp_path, monkeypatch):
    """Beside the folder, named in the message; what somebody else has there stays."""
    from nvnmd.boards import ecp5

    def fail(tool, arguments, folder, log, makes):
        (folder / log).write_text("no room")
        raise NvnmdError(f"it failed; see {folder / log}")

    monkeypatch.setattr(ecp5, "run_tool", fail)
    monkeypatch.setattr(ecp5, "find_tools", lambda *names: {name: Mock() for name in names})
    monkeypatch.setattr(ecp5, "constraints", lambda board: "")
    out, kept = tmp_path / "out", tmp_path / "out.failed"
    for _ in range(2):
        with pytest.raises(NvnmdError, match=f"it failed; see {kept}/yosys.log"):
            build(None, find_board("ulx3s-85f"), out)
        assert (kept / "yosys.log").read_text() == "no room" and not out.exists()
    (kept / "top.v").unlink()
    (kept / "yosys.log").write_text("mine")
    with pytest.raises(NvnmdError, match="it failed"):
        build(None, find_board("ulx3s-85f"), out)
    assert [path.name for path in tmp_path.iterdir()] == ["out.failed"]
    assert (kept / "yosys.log").read_text() == "mine"


def test_slowest_path_of_a_report(tmp_path):
    """The one from register to register that takes longest, also where the clock is missed."""
    def way(first, last, *parts, begin="posedge clk"):
        return {"from": begin, "to": "posedge clk", "path": [
            {"delay": delay, "type": kind, "from": {"cell": first}, "to": {"cell": last}}
            for kind, delay in parts]}

    paths = [way("a", "b", ("clk-to-q", 0.5), ("routing", 2.0), ("setup", 0.25)),
             way("c", "d", ("clk-to-q", 0.5), ("routing", 3.5), ("logic", 1.0), ("setup", 0.0)),
             way("pin", "d", ("routing", 9.0), begin="<async>")]
    file = tmp_path / "timing.json"
    file.write_text(json.dumps({
        "fmax": {"clk": {"achieved": 200.0}}, "critical_paths": paths,
        "utilization": {"DP16KD": {"used": 3, "available": 208}}}))
    text = "c to d, 5.00 ns, of which 3.50 ns on wires"
    assert read_report(file, 150.0) == (200.0, text, {"DP16KD": 3}, {"DP16KD": 208})
    with pytest.raises(NvnmdError, match=f"reaches 200.00 MHz, expected 210 MHz; the slowest path: "
                                         f"{text}; ask for a lower clock"):
        read_report(file, 210.0)
    assert critical_path({"critical_paths": paths[2:]}) == ""


@pytest.mark.parametrize("name", ["kc705", "genesys2", "vcu118"])
def test_projects_for_vivado(name, tmp_path):
    """Verilog with the pins' ports, constraints for each, and a script that says what it lacks."""
    out = tmp_path / "out"
    assert main(["build", "--echo", "--board", name, "-o", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert set(report["files"]) == {"build.sh", "top.tcl", "top.v", "top.xdc"}
    assert 80 < report["clock_asked"] <= 100
    verilog, constraints = ((out / f"top.{end}").read_text() for end in ("v", "xdc"))
    ports = set(re.findall(r"PACKAGE_PIN .*get_ports (\w+)", constraints))
    assert ports == {"clk_p", "clk_n", "uart_rx", "uart_tx"}
    assert all(re.search(rf"(input|output) {port};", verilog) for port in ports)
    assert report["vivado_part"] in (out / "top.tcl").read_text()
    done = subprocess.run(["/bin/sh", str(out / "build.sh")], env={"PATH": "/usr/bin:/bin"},
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr == "build.sh: vivado is not on PATH\n"


def test_a_port_for_everybody_is_told(tmp_path, capsys, monkeypatch):
    """Loopback unless told otherwise, and then a warning."""
    monkeypatch.setattr("nvnmd.boards.simulated.BoardProcess.wait", lambda self: 0)
    out = tmp_path / "out"
    out.mkdir()
    (out / "nvnmd_board").symlink_to(board_file())
    assert main(["boards", "--run", str(out)]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("127.0.0.1:") and not told.err
    assert main(["boards", "--run", str(out), "--host", "0.0.0.0"]) == 0
    assert "whoever reaches this machine can use the board" in capsys.readouterr().err
    line = error_of(capsys, "boards", "--run", str(out), "--host", "1.2.3.4", code=1)
    assert "the simulated board cannot listen" in line
