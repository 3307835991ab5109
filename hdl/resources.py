"""What an FPGA needs for the accelerator, unit by unit, counted by Yosys for the ECP5 family."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from nvnmd.errors import NvnmdError, ToolMissingError
from nvnmd.external_tools import find_tool
from nvnmd.hdl.atom.descriptor import Descriptor
from nvnmd.hdl.atom.gradient import GradDescriptor
from nvnmd.hdl.fitting.net import FitNet
from nvnmd.hdl.host.loader import Loader
from nvnmd.hdl.neighbor.backward import NeighborBackward
from nvnmd.hdl.neighbor.forward import NeighborForward
from nvnmd.hdl.neighbor.front import FrontEnd
from nvnmd.hdl.neighbor.gr import GrAccumulate, GrFinalize
from nvnmd.hdl.neighbor.store import NeighborStore
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.verilog import to_verilog

UNITS: dict[str, Callable[[AcceleratorConfig], Any]] = {
    "loader": Loader,
    "front end": lambda cfg: FrontEnd(cfg, atoms=cfg.atoms),
    "neighbours forward": NeighborForward,
    "GR sums": GrAccumulate,
    "GR to flt": lambda cfg: GrFinalize(cfg, atoms=cfg.atoms),
    "descriptor": lambda cfg: Descriptor(cfg, atoms=cfg.atoms),
    "fitting net": FitNet,
    "gradient of the descriptor": lambda cfg: GradDescriptor(cfg, atoms=cfg.atoms),
    "neighbour store": NeighborStore,
    "neighbours backward": NeighborBackward,
}


# The second is for units in which the pinned Yosys stops with an assertion of its own while it puts
# the first mapper's result back: the older mapper, whose LUTs have the same four inputs.
_MAPPERS = ("", " -run begin:map_luts; techmap; abc -lut 4")


@dataclass(frozen=True)
class Resources:
    """Cells after `synth_ecp5`, before placement.

    Attributes
    ----------
    multipliers : int
        MULT18X18D blocks.
    block_ram : int
        DP16KD blocks of 18 kbit.
    distributed_ram : int
        TRELLIS_DPR16X4 cells, 64 bits each.
    lut4, flip_flops, carry : int
        LUT4, TRELLIS_FF and CCU2C cells.
    """

    multipliers: int
    block_ram: int
    distributed_ram: int
    lut4: int
    flip_flops: int
    carry: int

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            *(getattr(self, f.name) + getattr(other, f.name) for f in fields(Resources))
        )


def count_resources(cfg: AcceleratorConfig) -> Iterator[tuple[str, Resources | NvnmdError]]:
    """Synthesise the units of a configuration one by one, and count their cells.

    The flat design is more than the mapper takes in the memory it has; what lies between the units
    is wires. Takes minutes.

    Yields
    ------
    name, Resources or NvnmdError
        The error where Yosys gave up on that unit; the others are counted all the same.

    Raises
    ------
    ToolMissingError
        If there is no Yosys of a version that will do.
    """
    for name, unit in UNITS.items():
        try:
            yield name, count_cells(to_verilog(unit(cfg), "unit"), name)
        except ToolMissingError:
            raise
        except NvnmdError as error:
            yield name, error


def count_cells(verilog: str, name: str) -> Resources:
    """Cells of one Verilog text whose top module is `unit`; `name` is for messages."""
    yosys = find_tool("yosys")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "unit.v").write_text(verilog, encoding="utf-8")
        report = Path(folder) / "stat.json"
        for mapper in _MAPPERS:
            script = f"read_verilog unit.v; synth_ecp5 -top unit{mapper}; "
            script += "tee -q -o stat.json stat -json"
            done = subprocess.run([*yosys.command, "-q", "-p", script], cwd=folder,
                                  env=yosys.environment(), capture_output=True, encoding="utf-8",
                                  check=False)
            if not done.returncode and report.exists():
                break
        else:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise NvnmdError(f"Yosys could not synthesise {name}: {last[0]}")
        cells = json.loads(report.read_text(encoding="utf-8"))["design"]["num_cells_by_type"]
    cells["LUT4"] = cells.get("LUT4", 0) + cells.get("$lut", 0)
    names = ("MULT18X18D", "DP16KD", "TRELLIS_DPR16X4", "LUT4", "TRELLIS_FF", "CCU2C")
    return Resources(*(int(cells.get(name, 0)) for name in names))
