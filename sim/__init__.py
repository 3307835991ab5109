"""Simulation of the accelerator: simulators built by Verilator, what plays on them, comparison.

The folder `harness` holds C++: the clock and the streams of any design, and the program of the
accelerator. A testbench in cocotb plays the same scripts, slower. May import `hdl` and `quantize`.
Start with `accelerator.run_accelerator`.
"""
