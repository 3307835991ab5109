"""Boards: one file per board, host link, build and upload. Empty so far.

May import `sim`, `hdl` and the rooms below them; only the command line and `nvnmd.connect` may
import it. Start with the file of your board.
"""
