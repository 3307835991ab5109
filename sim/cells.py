"""Verilog models of FPGA cells that Yosys has as black boxes only: netlists of ECP5 need them."""

from __future__ import annotations

from pathlib import Path

CELLS = ("MULT18X18D", "DP16KD")
"""The cells; each model says in its first lines of what it is a model, and what it refuses."""
_FOLDER = Path(__file__).resolve().parent / "ecp5"


def cell_models() -> str:
    """The models of all `CELLS`, one Verilog text."""
    return "\n".join((_FOLDER / f"{name.lower()}.v").read_text(encoding="utf-8")
                     for name in CELLS)
