"""Molecular dynamics with a model: ASE, LAMMPS and i-PI.

May import `evaluation` and the rooms below it. Start with `ase.NVNMD`; `lammps.run_script` and
`ipi.drive` are the others' entries.
"""
