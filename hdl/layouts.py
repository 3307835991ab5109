"""The records that the neighbour and atom stages hand to each other."""

from __future__ import annotations

from amaranth.hdl import signed
from amaranth.lib import data

from nvnmd.hdl.arith.flt import FltLayout
from nvnmd.hdl.params import AcceleratorConfig


def slot_bits(cfg: AcceleratorConfig) -> int:
    """Width of a slot number, 0 to fold-1 (at least one bit)."""
    return max(1, (cfg.fold - 1).bit_length())


class GroupLayout(data.StructLayout):
    """What a neighbour's or a group's words need to know of their group and atom."""

    def __init__(self, cfg: AcceleratorConfig) -> None:
        super().__init__(
            {
                "ntype": cfg.type_bits,
                "ctype": cfg.type_bits,
                "masked": 1,
                "first_of_group": 1,
                "last_of_group": 1,
                "last_of_atom": 1,
                "none": 1,
                "empties": cfg.count_bits,
            }
        )


class SlotLayout(data.StructLayout):
    """One slot of one neighbour: `lanes` channels of G, with the neighbour's four words of R4."""

    def __init__(self, cfg: AcceleratorConfig) -> None:
        flt = FltLayout(cfg)
        super().__init__(
            {
                "valid": 1,
                "slot": slot_bits(cfg),
                "g": data.ArrayLayout(flt, cfg.lanes),
                "r4": data.ArrayLayout(flt, 4),
                "group": GroupLayout(cfg),
            }
        )


class SumLayout(data.StructLayout):
    """One slot of a group's finished sums: ``sums[lane][c]``, whole numbers of 2**-fix_frac."""

    def __init__(self, cfg: AcceleratorConfig) -> None:
        column = data.ArrayLayout(signed(cfg.acc_bits), 4)
        super().__init__(
            {
                "valid": 1,
                "slot": slot_bits(cfg),
                "sums": data.ArrayLayout(column, cfg.lanes),
                "group": GroupLayout(cfg),
            }
        )


class ColumnLayout(data.StructLayout):
    """One column of GR (four rows of one channel), channels in ascending order.

    With the atom's `last` column, `emax` is the largest exponent of all its columns.
    """

    def __init__(self, cfg: AcceleratorConfig) -> None:
        super().__init__(
            {
                "valid": 1,
                "column": data.ArrayLayout(FltLayout(cfg), 4),
                "last": 1,
                "emax": signed(cfg.exp_int),
                "ctype": cfg.type_bits,
                "none": 1,
            }
        )


class GrLayout(data.StructLayout):
    """Payload of the `gr` stream: one column of GR; `none`: the atom has no real neighbour."""

    def __init__(self, cfg: AcceleratorConfig) -> None:
        super().__init__(
            {
                "column": data.ArrayLayout(FltLayout(cfg), 4),
                "none": 1,
                "last": 1,
            }
        )


class DescriptorLayout(data.StructLayout):
    """Payload of the `d` stream: one descriptor word (fix_frac fraction bits)."""

    def __init__(self, cfg: AcceleratorConfig) -> None:
        super().__init__(
            {
                "value": signed(cfg.data_bits),
                "ctype": cfg.type_bits,
                "last": 1,
            }
        )


def dd_layout(cfg: AcceleratorConfig) -> data.StructLayout:
    """One element of dE/dD, `cfg.fix_frac` fraction bits, index m2*i + k ascending."""
    return data.StructLayout({"value": signed(cfg.dd_bits), "last": 1})
