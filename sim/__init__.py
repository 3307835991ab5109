"""Simulation of the accelerator: runner, stream drivers, testbenches, comparison."""
