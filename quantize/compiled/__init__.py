"""The integer network compiled with numba: the words of `quantize.reference`, without its trace.

May import `quantize` and the rooms below it; needs numba where a function is called. Start with
`model.FastModel`.
"""
