"""Every memory of the accelerator is made here, so that shallow ones take no block RAM."""

from __future__ import annotations

from amaranth.hdl import Shape, ShapeLike
from amaranth.lib import memory

SHALLOW_DEPTH, SHALLOW_BITS = 64, 16384


def is_shallow(width: int, depth: int) -> bool:
    """Whether a memory is made of distributed RAM.

    A block RAM of any family is at least 512 words deep with its widest word, so up to 64 words
    would leave seven eighths of it empty.
    """
    return depth <= SHALLOW_DEPTH and width * depth <= SHALLOW_BITS


def make_memory(shape: ShapeLike, depth: int) -> memory.Memory:
    """A memory without contents; a shallow one says to synthesis that it wants no block.

    Yosys and Vivado both read the attribute ``ram_style``.
    """
    shallow = is_shallow(Shape.cast(shape).width, depth)
    return memory.Memory(shape=shape, depth=depth, init=[],
                         attrs={"ram_style": "distributed"} if shallow else {})
