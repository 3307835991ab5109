"""The command line: one module per group of commands.

Arguments, messages and exit codes live here, and nothing else: what a command does is done by the
rooms below, which are imported when the command runs, so that `nvnmd --help` loads nothing heavy.
May import every room. Start with `main`, then the module of your command.
"""
