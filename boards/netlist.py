"""A design as Yosys maps it to ECP5 cells, as Verilog that a simulator takes."""

from __future__ import annotations

import json
from pathlib import Path

from nvnmd.boards.ecp5 import run_tool
from nvnmd.external_tools import Tool, find_tool
from nvnmd.sim.cells import CELLS, cell_models

FILES = ("top.v", "cells.v", "cells.json", "cells.log", "netlist.v", "netlist.log")


def ecp5_netlist(verilog: str, top: str, folder: Path) -> tuple[str, dict[str, int]]:
    """Synthesise a design, and put models of the cells in the cells' places.

    LUTs, carry chains, registers and distributed RAM have models in Yosys; the multipliers and the
    blocks of RAM get those of `nvnmd.sim.cells`.

    Parameters
    ----------
    verilog : str
        The design.
    top : str
        Its top module.
    folder : Path
        Gets what Yosys reads and writes, and its logs.

    Returns
    -------
    str
        Verilog with the ports of the design.
    dict of str to int
        How many there are of each kind of cell.

    Raises
    ------
    ToolMissingError
        Yosys is missing or too old.
    NvnmdError
        Yosys failed; the message names its log.
    """
    yosys = find_tool("yosys")
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    (folder / "top.v").write_text(verilog, encoding="utf-8")
    _yosys(yosys, folder, "cells",
           f"read_verilog top.v; synth_ecp5 -no-rw-check -top {top}; "
           "tee -q -o cells.json stat -json; write_verilog -noattr cells.v")
    # Apart from the synthesis, which knows the cells as black boxes. Our models stay modules of
    # their own: only the simulator builds them. A wire of many bits that are assigned one by one
    # looks like a loop to the simulator, so each bit becomes a wire.
    _yosys(yosys, folder, "netlist",
           "read_verilog cells.v; read_verilog -overwrite +/ecp5/cells_sim.v; "
           f"hierarchy -top {top}; proc; flatten; opt_clean; splitnets; opt_clean; "
           "write_verilog -noattr netlist.v")
    counted = json.loads((folder / "cells.json").read_text(encoding="utf-8"))
    cells: dict[str, int] = counted["design"]["num_cells_by_type"]
    models = cell_models() if any(cells.get(name) for name in CELLS) else ""
    return (folder / "netlist.v").read_text(encoding="utf-8") + models, cells


def _yosys(yosys: Tool, folder: Path, name: str, script: str) -> None:
    run_tool(yosys, ["-q", "-l", f"{name}.log", "-p", script], folder, f"{name}.log", f"{name}.v")
