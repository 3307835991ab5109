"""The demo: the whole chain on data that the program makes and labels itself.

`data` makes the alloy, `run` runs every stage and prints the summary. May import every room but
the command line, which starts it. Start with `run.run_demo`.
"""
