"""The hyperbolic tangent on single numbers, compiled; loops over it become vector instructions."""

from __future__ import annotations

import numpy as np

from nvnmd.compiling import njit

_LOG2E = 1.4426950408889634
_LN2 = 0.6931471805599453
# 1.5 * 2^52: adding it rounds to a whole number, which then stands in the lowest bits
_ROUND = 6755399441055744.0
_BIAS = np.int64(1023)
_WIDTH = np.int64(52)


# no "reassoc" here: it would undo the rounding; and comparisons rather than min() and copysign(),
# which would keep a loop from becoming vector instructions
@njit(fastmath={"contract", "nsz"}, error_model="numpy")
def tanh(x):
    """1 - 2/(exp(2x) + 1) for the magnitude of x, to 2e-16; the exponential is 2^k times its
    series up to r^13, its argument less k ln 2."""
    magnitude = abs(x)
    # this way round what is not a number stays so
    twice = 60.0 if magnitude > 30.0 else 2.0 * magnitude
    shifted = twice * _LOG2E + _ROUND
    r = twice - (shifted - _ROUND) * _LN2
    series = 1.6059043836821613e-10
    series = series * r + 2.08767569878681e-09
    series = series * r + 2.505210838544172e-08
    series = series * r + 2.755731922398589e-07
    series = series * r + 2.7557319223985893e-06
    series = series * r + 2.48015873015873e-05
    series = series * r + 0.0001984126984126984
    series = series * r + 0.001388888888888889
    series = series * r + 0.008333333333333333
    series = series * r + 0.041666666666666664
    series = series * r + 0.16666666666666666
    series = series * r + 0.5
    series = (series * r + 1.0) * r + 1.0
    # the lowest bits of `shifted` are k: moved up they make 2^k
    power = np.int64((np.float64(shifted).view(np.int64) + _BIAS) << _WIDTH).view(np.float64)
    t = 1.0 - 2.0 / (power * series + 1.0)
    return t if x > 0.0 else -t
