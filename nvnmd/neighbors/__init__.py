"""Neighbour lists whose order and bits are DeePMD-kit's; cells; the compiled search.

May import only the files at the bottom of the package (errors, threads). Start with
`slots.build_neighborhood`.
"""
