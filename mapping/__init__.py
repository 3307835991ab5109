"""From float weights to tables, and from weights and tables to the frozen model.

May import `network`, `quantize`, `inputs`. Start with `build`, then `freeze`.
"""
