"""The continuous (float) network: nets, explicit derivatives, weights, initial weights.

Nothing here is quantized and nothing is trained. May import `quantize`, `inputs`, `data`,
`neighbors`. Start with `model`; `compiled` computes the same at speed.
"""
