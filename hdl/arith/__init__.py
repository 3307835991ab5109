"""Units of arithmetic: multiply, add, align, normalise, whole numbers, tanh.

Each states its formula, its latency and, in `compute`, the same in integers. May import
`hdl.pipeline` and `quantize`. Start with `flt` (the format), then `mul`.
"""
