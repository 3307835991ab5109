"""Boards: one file per board, what fits them, build, upload, and the client that computes on one.

Inside: `link` (frames between host and board). May import `link`, `evaluation`, `sim`, `hdl` and
the rooms below them; only the command line and the Python interface import it. Start with
`catalog`, then the file of your board.
"""
