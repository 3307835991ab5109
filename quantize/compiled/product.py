"""Matrix products of a few rows, compiled, in the caller's thread.

NumPy's product would start threads of its own beside ours. Sums are taken in any order and with
fused steps: of whole numbers whose sums stay below 2^53 that is exact, of others it is not the same
bits on every machine.
"""

from __future__ import annotations

from nvnmd.compiling import njit


@njit(fastmath={"reassoc", "contract", "nsz"})
def product(x, w, out, rows, depth, cols):
    """``out[:rows, :cols] = x[:rows, :depth] @ w[:depth, :cols]``; arrays may be larger.

    Four rows and four terms at a time: each number loaded then serves four sums.
    """
    for i in range(0, rows - 3, 4):
        o0, o1, o2, o3 = out[i], out[i + 1], out[i + 2], out[i + 3]
        x0, x1, x2, x3 = x[i], x[i + 1], x[i + 2], x[i + 3]
        for j in range(cols):
            o0[j] = 0.0
            o1[j] = 0.0
            o2[j] = 0.0
            o3[j] = 0.0
        for k in range(0, depth - 3, 4):
            a00, a01, a02, a03 = x0[k], x0[k + 1], x0[k + 2], x0[k + 3]
            a10, a11, a12, a13 = x1[k], x1[k + 1], x1[k + 2], x1[k + 3]
            a20, a21, a22, a23 = x2[k], x2[k + 1], x2[k + 2], x2[k + 3]
            a30, a31, a32, a33 = x3[k], x3[k + 1], x3[k + 2], x3[k + 3]
            w0, w1, w2, w3 = w[k], w[k + 1], w[k + 2], w[k + 3]
            for j in range(cols):
                b0, b1, b2, b3 = w0[j], w1[j], w2[j], w3[j]
                o0[j] += a00 * b0 + a01 * b1 + a02 * b2 + a03 * b3
                o1[j] += a10 * b0 + a11 * b1 + a12 * b2 + a13 * b3
                o2[j] += a20 * b0 + a21 * b1 + a22 * b2 + a23 * b3
                o3[j] += a30 * b0 + a31 * b1 + a32 * b2 + a33 * b3
        for k in range(depth // 4 * 4, depth):
            a0, a1, a2, a3 = x0[k], x1[k], x2[k], x3[k]
            row = w[k]
            for j in range(cols):
                o0[j] += a0 * row[j]
                o1[j] += a1 * row[j]
                o2[j] += a2 * row[j]
                o3[j] += a3 * row[j]
    for i in range(rows // 4 * 4, rows):
        o, factors = out[i], x[i]
        for j in range(cols):
            o[j] = 0.0
        for k in range(depth):
            a, row = factors[k], w[k]
            for j in range(cols):
                o[j] += a * row[j]
