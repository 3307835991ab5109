"""Mapping tables: the functions to tabulate, table construction and lookup."""
