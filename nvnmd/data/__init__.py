"""Training data: systems in their layouts, conversion, neighbour pairs, how frames are drawn.

May import `neighbors`. Start with `systems.load_systems`.
"""
