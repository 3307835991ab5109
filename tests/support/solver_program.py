"""The solver Bitwuzla as a program that yosys-smtbmc talks to: its wheel brings a library alone.

SMT-LIB commands come line by line, one or more lines each, and are answered at once.
"""

from __future__ import annotations

import sys

import bitwuzla


def main() -> None:
    """Answer the commands of standard input."""
    if "--help" in sys.argv:
        # how yosys-smtbmc asks which options it may use
        print("usage: bitwuzla --lang smt2")
        return
    options = bitwuzla.Options()
    options.set(bitwuzla.Option.PRODUCE_MODELS, True)
    parser = bitwuzla.Parser(bitwuzla.TermManager(), options)
    command, depth = "", 0
    for line in sys.stdin:
        text = line.split(";")[0].strip()
        command += text + "\n"
        depth += text.count("(") - text.count(")")
        if depth or not command.strip():
            continue
        if command.strip() == "(exit)":
            return
        parser.parse(command, False, False)
        sys.stdout.flush()
        command = ""


if __name__ == "__main__":
    main()
