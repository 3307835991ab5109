"""Evaluation: energies, forces and virials of a model by any backend, errors, comparison.

Also the simulation of a frame on the accelerator, and what `model.pb` costs in accuracy. May
import `sim`, `hdl`, `deepmd` and the rooms below them; never `training`. Start with
`potential.load_model`, then `evaluate`.
"""
