"""The driver of i-PI against `evaluate`, alone and with i-PI 3.3.1."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from support.md_models import small_frame, small_potential

import nvnmd.integrations.ipi as ipi_module
from nvnmd.cli.main import main
from nvnmd.errors import InputError, NvnmdError
from nvnmd.integrations.ipi import BOHR, HARTREE, Driver, connect, drive

INPUT = """\
<simulation verbosity="low">
  <output prefix="sim">
    <properties stride="1" filename="out" flush="1">
      [step, potential, conserved, stress_md, volume]
    </properties>
    <trajectory stride="1" filename="frc" flush="1" format="xyz"> forces </trajectory>
    <trajectory stride="1" filename="pos" flush="1" format="xyz"> positions </trajectory>
  </output>
  <total_steps>3</total_steps>
  {field}
  <system>
    <initialize nbeads="1">
      <file mode="xyz"> start.xyz </file>
      <velocities mode="thermal" units="kelvin"> 50 </velocities>
    </initialize>
    <forces><force forcefield="model"/></forces>
    <motion mode="dynamics">
      <dynamics mode="nve"><timestep units="femtosecond"> 0.5 </timestep></dynamics>
    </motion>
  </system>
</simulation>
"""
SOCKET = """<ffsocket name="model" mode="unix" pbc="False">
    <address> {name} </address> <latency> 1e-4 </latency> <timeout> 60 </timeout>
  </ffsocket>"""
DIRECT = """<ffdirect name="model" pbc="False">
    <pes> custom </pes> <pes_path> {path} </pes_path>
    <parameters> {{ model: model.nvnmd, template: start.xyz }} </parameters>
  </ffdirect>"""


def expected(backend="fixed"):
    coord, box, symbols = small_frame()
    return small_potential().evaluate(coord, box, symbols, backend)


def test_units_and_orientation():
    coord, _, symbols = small_frame()
    skewed = np.array([[9.0, 0, 0], [1.5, 9, 0], [0.5, -1, 9]])
    driver = Driver(small_potential(), symbols)
    energy, force, virial, extra = driver(skewed.T / BOHR, coord / BOHR)
    found = small_potential().evaluate(coord.round(10), skewed, symbols)
    np.testing.assert_allclose(energy * HARTREE, found.energy, rtol=1e-12)
    np.testing.assert_allclose(force * HARTREE / BOHR, found.force, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(virial * HARTREE, (found.virial + found.virial.T) / 2, rtol=1e-10,
                               atol=1e-12)
    assert extra == ""
    assert len(driver([skewed.T / BOHR] * 2, [coord / BOHR] * 2)) == 2
    with pytest.raises(InputError, match="got 3 atoms, expected the 27"):
        driver(skewed, coord[:3])
    with pytest.raises(InputError, match="got colour, expected model and template"):
        Driver(small_potential(), symbols, colour=3)


def test_positions_of_a_file_keep_their_bits():
    """`fixed` truncates the last bits of positions, which a unit's conversion changes."""
    coord, _, symbols = small_frame()
    coord = coord.round(8)
    skewed = np.array([[9.0, 0, 0], [1.5, 9, 0], [0.5, -1, 9]])
    assert (coord / BOHR * BOHR != coord).any()
    energy, force, _, _ = Driver(small_potential(), symbols)(skewed.T / BOHR, coord / BOHR)
    found = small_potential().evaluate(coord, skewed, symbols)
    assert energy == float(found.energy) / HARTREE
    assert np.array_equal(force, found.force * (BOHR / HARTREE))


def test_units_of_pressure_are_off():
    """i-PI 3.3.1: its bar and pascal are 3e-5 off what its own bohr and hartree make of them."""
    if importlib.util.find_spec("ipi") is None:
        pytest.skip("i-PI is not installed")
    assert importlib.metadata.version("ipi") == "3.3.1"
    from ipi.utils.units import unit_to_internal

    assert unit_to_internal("length", "angstrom", 1.0) == 1.0 / BOHR
    assert unit_to_internal("energy", "electronvolt", 1.0) == 1.0 / HARTREE
    # eV/Å^3 in pascal, by the definition of the eV
    pascal = 1.0 / HARTREE * BOHR**3 / 1.602176634e11
    for name, value in (("pascal", pascal), ("bar", 1e5 * pascal)):
        off = unit_to_internal("pressure", name, 1.0) / value - 1
        assert 2e-5 < abs(off) < 4e-5


def test_messages_are_consolidated_by_default():
    """i-PI 3.3.1 sends GETFORCE with the positions, unread by a driver that ends before it."""
    if importlib.util.find_spec("ipi") is None:
        pytest.skip("i-PI is not installed")
    import inspect

    from ipi.interfaces.sockets import InterfaceSocket

    assert inspect.signature(InterfaceSocket).parameters["consolidate_messages"].default is True


@pytest.mark.parametrize("backend", ["fixed", "float"])
def test_every_backend(backend):
    coord, box, symbols = small_frame()
    coord = coord.round(8)
    energy, force, _, _ = Driver(small_potential(), symbols, backend)(box.T / BOHR, coord / BOHR)
    found = small_potential().evaluate(coord, box, symbols, backend)
    assert abs(energy * HARTREE - found.energy) < 1e-10 * abs(found.energy)
    np.testing.assert_allclose(force * HARTREE / BOHR, found.force, rtol=0, atol=1e-10)


def serve(client, talk):
    """A thread in which the driver answers; what it raised, or its number of steps."""
    left = []

    def work():
        try:
            left.append(drive(client, talk))
        except NvnmdError as error:
            left.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, left


def posdata(coord, box):
    return b"".join([b"POSDATA".ljust(12), (box.T / BOHR).tobytes(),
                     np.linalg.inv(box.T / BOHR).tobytes(), np.int32(len(coord)).tobytes(),
                     (coord / BOHR).tobytes()])


def test_the_protocol():
    coord, box, symbols = small_frame()
    server, client = socket.socketpair()
    server.settimeout(30)
    with server, client:
        thread, left = serve(client, Driver(small_potential(), symbols))
        server.sendall(b"STATUS".ljust(12))
        assert server.recv(12) == b"NEEDINIT    "
        server.sendall(b"INIT".ljust(12) + np.int32(0).tobytes() + np.int32(3).tobytes() + b"abc")
        server.sendall(b"STATUS".ljust(12))
        assert server.recv(12) == b"READY       "
        # all in one, as i-PI's consolidated messages
        server.sendall(posdata(coord, box) + b"GETFORCE".ljust(12))
        size = 12 + 8 + 4 + 27 * 24 + 72 + 4
        got = b""
        while len(got) < size:
            got += server.recv(size - len(got))
        assert got[:12] == b"FORCEREADY  "
        energy = np.frombuffer(got[12:20])[0]
        np.testing.assert_allclose(energy * HARTREE, expected().energy, rtol=1e-7)
        server.sendall(posdata(coord, box))
        server.sendall(b"STATUS".ljust(12))
        assert server.recv(12) == b"HAVEDATA    "
        server.sendall(b"EXIT".ljust(12))
        thread.join(30)
    assert left == [2]


def test_a_driver_that_fails_reads_what_is_pending(monkeypatch):
    """i-PI 3.3.1 waits for ever for a driver that closes with its GETFORCE unread."""
    monkeypatch.setattr(ipi_module, "_WAIT_AFTER_ERROR", 0.3)
    coord, box, symbols = small_frame()
    server, client = socket.socketpair()
    server.settimeout(30)
    with server:
        with client:
            thread, left = serve(client, Driver(small_potential(), symbols))
            server.sendall(posdata(coord * 0.3, box) + b"GETFORCE".ljust(12))
            thread.join(30)
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(1)
        assert server.recv(12) == b""
    assert isinstance(left[0], NvnmdError) and "neighbours of" in str(left[0])


@pytest.mark.parametrize(("message", "match"), [
    (b"GETFORCE".ljust(12), "got GETFORCE, expected POSDATA before it"),
    (b"HELLO".ljust(12), "got 'HELLO', expected a message"),
    (b"INIT".ljust(12) + np.int32(0).tobytes() + np.int32(12).tobytes() + b"batch_size:4",
     "expected batches of 1"),
])
def test_what_is_no_protocol(monkeypatch, message, match):
    monkeypatch.setattr(ipi_module, "_WAIT_AFTER_ERROR", 0.05)
    server, client = socket.socketpair()
    with server, client:
        thread, left = serve(client, Driver(small_potential(), small_frame()[2]))
        server.sendall(message)
        thread.join(30)
    assert match in str(left[0])


def test_nobody_answers(tmp_path, capsys):
    with pytest.raises(NvnmdError, match="expected a server that listens there"):
        connect(unix=str(tmp_path / "none"), wait=0.0)
    small_potential().network.save(tmp_path / "model.nvnmd")
    assert main(["ipi-driver", "-m", str(tmp_path / "model.nvnmd"), "-t", "Cu,Au", "--unix",
                 str(tmp_path / "none"), "--wait", "1"]) == 1
    assert "expected a server" in capsys.readouterr().err
    assert main(["ipi-driver", "-m", str(tmp_path / "model.nvnmd"), "-t", "none.xyz"]) == 2


@pytest.mark.parametrize("mode", ["socket", "direct"])
def test_with_i_pi(tmp_path, mode):
    if importlib.util.find_spec("ipi") is None:
        pytest.skip("i-PI is not installed")
    assert importlib.metadata.version("ipi") == "3.3.1"
    coord, box, symbols = small_frame()
    small_potential().network.save(tmp_path / "model.nvnmd")
    lines = [str(len(coord)), f"# CELL(abcABC): {box[0, 0]} {box[1, 1]} {box[2, 2]} 90 90 90 "
             "positions{angstrom} cell{angstrom}"]
    lines += [f"{s} {x:.12f} {y:.12f} {z:.12f}"
              for s, (x, y, z) in zip(symbols, coord, strict=True)]
    (tmp_path / "start.xyz").write_text("\n".join(lines) + "\n")
    name = f"nvnmd_test_{os.getpid()}"
    field = SOCKET.format(name=name) if mode == "socket" else DIRECT.format(
        path=Path(ipi_module.__file__))
    (tmp_path / "input.xml").write_text(INPUT.format(field=field))
    server = subprocess.Popen(
        [sys.executable, "-c", "import sys; from ipi.engine.simulation import Simulation; "
         "s = Simulation.load_from_xml(open('input.xml')); s.run()"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        if mode == "socket":
            driver = subprocess.run(
                [sys.executable, "-P", "-m", "nvnmd", "ipi-driver", "-m", "model.nvnmd", "-t",
                 "start.xyz", "--unix", name], cwd=tmp_path, capture_output=True, text=True,
                timeout=120)
            assert driver.returncode == 0 and "4 evaluations" in driver.stdout, driver
        said = server.communicate(timeout=120)[0]
    finally:
        server.kill()
    table = np.loadtxt(tmp_path / "sim.out")
    assert len(table) == 4, said
    found = expected()
    np.testing.assert_allclose(table[0, 1] * HARTREE, found.energy, rtol=1e-6)
    rows = (tmp_path / "sim.frc_0.xyz").read_text().splitlines()[2:29]
    force = np.array([[float(word) for word in row.split()[1:]] for row in rows])
    np.testing.assert_allclose(force * HARTREE / BOHR, found.force, rtol=0, atol=2e-6)
