"""docs/commands.md: every command as its help shows it, in the groups of `nvnmd --help`.

    python -m nvnmd.cli.reference > docs/commands.md
"""

from __future__ import annotations

from nvnmd.cli.main import build_groups

HEAD = """\
# Commands

Every command with its options, in the groups of `nvnmd --help`. This page is made by
`python -m nvnmd.cli.reference > docs/commands.md`, and a test compares the two.
[Exit codes](files.md#exit-codes) are the same for all commands.
"""


def command_reference() -> str:
    """Return the page as Markdown."""
    parser, groups = build_groups()
    parts = [HEAD]
    for title, lines in groups.items():
        parts.append(f"## {title[0].upper()}{title[1:]}\n")
        for name in lines:
            text = parser.commands[name].format_help().rstrip()
            parts.append(f"### {name}\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(command_reference(), end="")
