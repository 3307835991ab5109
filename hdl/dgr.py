"""The gradient of the descriptor: from dE/dD and GR to dE/dGR, aligned for the neighbours."""

from __future__ import annotations

from amaranth import Module, signed
from amaranth.hdl import unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from nvnmd.errors import InputError
from nvnmd.hdl.layouts import GrLayout
from nvnmd.hdl.params import AcceleratorConfig, ceil_div

ROWS = 4


def dd_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """One element of dE/dD, `cfg.fix_frac` fraction bits, index m2*i + k ascending."""
    return data.StructLayout({"value": signed(cfg.data_bits), "last": 1})


def aligned_column_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """One column of dE/dGR twice as whole numbers, with the column's own largest exponent.

    `row[c]` is the mantissa at the largest exponent of row c, `col[c]` at `colmax`.
    """
    mantissas = data.ArrayLayout(signed(cfg.man_bits + 1), ROWS)
    return data.StructLayout({"row": mantissas, "col": mantissas, "colmax": signed(cfg.exp_int)})


def dgr_port(cfg: AcceleratorConfig) -> wiring.Signature:
    """The reader's side of the dE/dGR memory (direction: from memory to reader).

    `ready`: the oldest atom's dE/dGR can be read; `rowmax`: its rows' largest exponents; `slot`:
    the L columns slot*L ... to read, which are on `columns` in the next cycle; `release`: the atom
    is done (in the cycle of its last read).
    """
    slots = ceil_div(cfg.m1, cfg.lanes)
    return wiring.Signature(
        {
            "ready": Out(1),
            "rowmax": Out(data.ArrayLayout(signed(cfg.exp_int), ROWS)),
            "slot": In(range(max(2, slots))),
            "columns": Out(data.ArrayLayout(aligned_column_layout(cfg), cfg.lanes)),
            "release": In(1),
        }
    )


class GradDescriptor(wiring.Component):
    """Ports.

    dd, gr: inputs; nix_shift: log2(NIX); dgr: to NeighborBackward; atom_return: the GR matrix of
    an atom is no longer needed.
    """

    def __init__(self, cfg: AcceleratorConfig, *, atoms: int = 2) -> None:
        if atoms < 1:
            raise InputError(f"accelerator: atoms is {atoms}, expected at least 1")
        self.cfg = cfg
        self.atoms = atoms
        ports = {
            "dd": In(stream.Signature(dd_layout(cfg))),
            "gr": In(stream.Signature(GrLayout(cfg))),
            "nix_shift": In(unsigned(5)),
            "dgr": Out(dgr_port(cfg)),
            "atom_return": Out(1),
            "overflow": Out(1),
        }
        if cfg.trace:
            words = data.ArrayLayout(cfg.flt_bits, ROWS)
            ports |= {
                "fault": In(1),
                "tap_dgr": Out(data.StructLayout({"valid": 1, "words": words})),
            }
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        raise NotImplementedError
