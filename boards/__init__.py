"""Boards: one file per board, the host link, bitstream builds (a later stage of the project)."""
