"""Number formats, primitive operations, tables, the frozen model and the integer reference.

Each operation is defined once, in `ops`; trainer, reference, compiled form and hardware tests all
call it. Inside: `compiled` (numba) and `tensorflow`. May import only the files at the bottom of
the package. Start with `formats`, `ops`, then `reference`.
"""
