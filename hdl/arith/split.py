"""How a product is split over the multiplier blocks of an FPGA family, and over its logic."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

from nvnmd.errors import InputError

BLOCK_COST = 150
"""Logic cells for which a multiplier block is given. A product of a by b bits in logic takes about
a*b of them."""


@dataclass(frozen=True)
class Blocks:
    """The multiplier blocks of a family.

    Attributes
    ----------
    operands : (int, int)
        Widths of a block's signed operands.
    by_hand : bool
        Whether products are written as parts that fit a block each, and as adders. Otherwise
        logic synthesis splits them, and pays in blocks alone.
    """

    operands: tuple[int, int]
    by_hand: bool


FAMILY_BLOCKS = {
    "ECP5": Blocks((18, 18), True),
    "7-series": Blocks((25, 18), True),
    # synthesis knows how to chain these
    "UltraScale+": Blocks((27, 18), False),
}


@dataclass(frozen=True)
class Part:
    """Bits `start` to ``start + width - 1`` of an operand; only its last part has the sign."""

    start: int
    width: int
    signed: bool


@dataclass(frozen=True)
class Split:
    """Parts of the operands, and which of their products are made in logic.

    Attributes
    ----------
    a, b : tuple of Part
        From the lowest bits.
    logic : frozenset of (int, int)
        Indices of parts.
    """

    a: tuple[Part, ...]
    b: tuple[Part, ...]
    logic: frozenset[tuple[int, int]]

    @property
    def blocks(self) -> int:
        """Multiplier blocks."""
        return len(self.a) * len(self.b) - len(self.logic)

    @property
    def cost(self) -> int:
        """Blocks and logic on one scale."""
        return self.blocks * BLOCK_COST + sum(
            self.a[i].width * self.b[j].width for i, j in self.logic)


@cache
def split_product(a_bits: int, b_bits: int, family: str) -> Split:
    """The cheapest split of a signed product.

    An operand of more bits than a block's is cut at the lower bits into unsigned parts, each as
    wide as the block's operand less its sign. A product of parts that logic makes for less than a
    block's worth goes there, where the family's products are split by hand.

    Raises
    ------
    InputError
        The family is not known.
    """
    if family not in FAMILY_BLOCKS:
        raise InputError(f"accelerator: family is {family}, expected one of "
                         f"{', '.join(FAMILY_BLOCKS)}")
    blocks = FAMILY_BLOCKS[family]
    tried = []
    for first, second in (blocks.operands, blocks.operands[::-1]):
        a, b = _parts(a_bits, first), _parts(b_bits, second)
        logic = frozenset(
            (i, j) for i, j in product(range(len(a)), range(len(b)))
            if blocks.by_hand and a[i].width * b[j].width < BLOCK_COST)
        tried.append(Split(a, b, logic))
    return min(tried, key=lambda split: split.cost)


def _parts(bits: int, operand: int) -> tuple[Part, ...]:
    """Parts of a signed operand; the last fits a block's operand with its sign."""
    parts, start = [], 0
    while bits - start > operand:
        parts.append(Part(start, operand - 1, False))
        start += operand - 1
    return (*parts, Part(start, bits - start, True))
