"""The bus that carries a model into the memories that hold it.

The loader turns the load stream into writes on this bus; each memory owner listens for its own
sections. A beat is four 32-bit lanes: one table output's coefficients a, b, c, d as flt words, or
four consecutive fitting weights, or four other words.
"""

from __future__ import annotations

import enum

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

LANES = 4
LANE_BITS = 32


class Section(enum.IntEnum):
    """What a run of load beats holds. Indices count beats in the section's natural order.

    The natural order never depends on a fold, so that one image serves every fold:

    - tables: ``((type*rows + row)*n_out + out)``, n_out rounded up to a power of two, lanes a, b,
      c, d as flt words;
    - EMPTY: ``((centre*ntypes + neighbour)*m1 + channel)//4``, fix words;
    - FIT_FORWARD, FIT_BACKWARD: ``(((type*hidden + layer)*width + row)*width + col)//4``, signed
      weight mantissas; FIT_BACKWARD holds the transposed matrices (row = output j of the layer).
      Where weights are kept once: whole numbers of 2**-23, and no FIT_BACKWARD;
    - FIT_LAST_FORWARD, FIT_LAST_BACKWARD: ``(type*width + i)//4``;
    - FIT_COLUMN: ``(((direction*ntypes + type)*hidden + layer)*width + col)//4``, exponents;
    - FIT_BIAS: ``((type*hidden + layer)*width + col)//4``, fix words;
    - FIT_LAST: one beat per type: forward exponent, backward exponent, bias, 0;
    - PARAMS: see `nvnmd.hdl.host.image`.

    `type` runs over the accelerator's ntypes, not the model's: absent types hold zeros. In version
    1 tables and fitting nets have one type, there is no EMPTY, and the types have sections of their
    own; in SUB_VERSION 2 there is EMPTY again, ``(centre*m1 + channel)//4``:

    - TYPE_GAIN: ``((centre*ntypes + neighbour)*m1 + channel)//4``, flt words;
    - INV_STD: one beat per centre type: inverse deviations of s and h as flt words, 0, 0; in
      SUB_VERSION 2 minus the mean of s in the third lane;
    - TYPE_TERM: ``(type*width + col)//4``, fix words.
    """

    PARAMS = 0
    EMPTY = 1
    U_VALUE = 2
    U_GRAD = 3
    G_VALUE = 4
    G_GRAD = 5
    FIT_FORWARD = 6
    FIT_BACKWARD = 7
    FIT_LAST_FORWARD = 8
    FIT_LAST_BACKWARD = 9
    FIT_COLUMN = 10
    FIT_BIAS = 11
    FIT_LAST = 12
    TYPE_GAIN = 13
    INV_STD = 14
    TYPE_TERM = 15


class LoadBus(wiring.Signature):
    """One beat of the model being loaded, from the loader (Out) to every memory owner (In).

    Attributes
    ----------
    valid : Out
        Write the beat.
    check, second : Out
        Read it back instead, the second copy where there are two; see `nvnmd.hdl.pipeline.owners`.
    section, index, data : Out
        Place and words.
    back : In
        The words that are read back.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "valid": Out(1),
                "check": Out(1),
                "second": Out(1),
                "section": Out(8),
                "index": Out(24),
                "data": Out(LANES * LANE_BITS),
                "back": In(LANES * LANE_BITS),
            }
        )
