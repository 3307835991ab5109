"""The link between host and board: frames, their gateware, and the host, side by side.

`frames` holds the format, once; gateware and host both follow it. May import `hdl` and the rooms
below it. Start with `frames`, then `endpoint` (gateware) and `session` (host); docs/link.md has a
worked example.
"""
