"""What there is to see of a model, a run or an installation.

`info` says what a model file is; `tables` measures its tables. May import every room but the
command line, the demo and its neighbour `integrations`. Start with the module of your question.
"""
