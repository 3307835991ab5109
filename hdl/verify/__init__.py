"""Verification parts of the hardware: taps after each stage, stimulus, expected words.

May import `hdl.arith`, `hdl.pipeline` and `quantize`. Start with `taps`.
"""
