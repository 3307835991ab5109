"""Stages that run once per atom: the descriptor D, and dE/dGR from dE/dD.

May import `hdl.arith` and `hdl.pipeline`. Start with `descriptor`, then `gradient`.
"""
