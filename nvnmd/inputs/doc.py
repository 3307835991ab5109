"""The reference of the input keys, written from their tree and the rules for them.

``nvnmd doc-train-input`` prints it; a test holds docs/input.md against it, so that the
documentation cannot drift from the program.
"""

from __future__ import annotations

from dargs import Argument

from nvnmd.inputs.check import argument_types
from nvnmd.inputs.contract import NO_DEFAULT, Entry, walk
from nvnmd.inputs.mistakes import show
from nvnmd.inputs.policy import DESCRIPTOR, find_rule, table
from nvnmd.inputs.rule import Rule
from nvnmd.inputs.tree import DESCRIPTOR_DEFAULT, described_sections, meaning, sections

HEAD = ["| key | type | default | here | meaning |", "|---|---|---|---|---|"]


def all_rules() -> dict[str, Rule]:
    """The rules of version 0, and for the descriptor of version 1 those of version 1."""
    first, second = table(0), table(1)
    mine = {path: rule for path, rule in second.items()
            if path.startswith(f"{DESCRIPTOR}[se_atten]")}
    return {path: rule for path, rule in first.items() if path != f"{DESCRIPTOR}[se_atten]"} | mine


def reference() -> str:
    """Markdown: one table of keys for each section."""
    parts: list[str] = []
    rules = all_rules()
    tree = sections()
    parts += ["### The document", "", *HEAD, *(_row(section, section.name, rules)
                                               for section in tree), ""]
    for section in tree:
        _section(section, section.name, rules, parts)
    return "\n".join(parts)


def _section(argument: Argument, path: str, rules: dict[str, Rule], parts: list[str]) -> None:
    if find_rule(rules, path).kind == "refused" or not (argument.sub_fields
                                                         or argument.sub_variants):
        return
    inner = [(field, f"{path}/{field.name}") for field in argument.sub_fields.values()]
    parts += [f"### {path}", "", f"{'Optional. ' if argument.optional else ''}{argument.doc}", "",
              *HEAD]
    parts += [_row(field, at, rules) for field, at in inner]
    flag_entries = {entry.path: entry for entry in walk([argument])}
    for variant in argument.sub_variants.values():
        entry = flag_entries[f"{argument.name}/{variant.flag_name}"]
        parts.append(_flag_row(entry, rules[f"{path}/{variant.flag_name}"]))
        for choice in variant.choice_dict.values():
            at = f"{path}[{choice.name}]"
            if at in rules and rules[at].kind == "refused":
                parts.append(_refused_row(choice, variant.flag_name, rules[at]))
    parts.append("")
    for variant in argument.sub_variants.values():
        for choice in variant.choice_dict.values():
            at = f"{path}[{choice.name}]"
            if at not in rules and choice.sub_fields:
                parts += [f"### {at}", "", f"{_of_version(at)}{choice.doc}", "", *HEAD]
                fields = [(field, f"{at}/{field.name}") for field in choice.sub_fields.values()]
                parts += [_row(field, where, rules) for field, where in fields] + [""]
                inner += fields
    for field, at in inner:
        _section(field, at, rules, parts)


def _of_version(path: str) -> str:
    """Say of which version of NVNMD a descriptor is."""
    for version, name in DESCRIPTOR_DEFAULT.items():
        if path == f"{DESCRIPTOR}[{name}]":
            return f"Version {version}. "
    return ""


def _names(argument: Argument) -> str:
    return ", ".join(f"`{name}`" for name in (argument.name, *argument.alias))


def _row(argument: Argument, path: str, rules: dict[str, Rule]) -> str:
    rule = find_rule(rules, path)
    entry = next(walk([argument]))
    text = meaning(entry, rule)
    default = "" if entry.default is NO_DEFAULT else f"`{show(entry.default)}`"
    if rule.kind == "refused":
        default = ""
        inner = [one.name for one in argument.sub_fields.values()]
        inner += [variant.flag_name for variant in argument.sub_variants.values()]
        inner += [one.name for variant in argument.sub_variants.values()
                  for choice in variant.choice_dict.values()
                  for one in choice.sub_fields.values()]
        if inner:
            text += f" With it {_listed(inner)}."
    elif rule.kind == "only":
        default = f"`{show(rule.values[0])}`"
    elif not argument.optional:
        default = "required"
    kind = "one setting" if rule.kind == "only" else rule.kind
    return f"| {_names(argument)} | {argument_types(argument)} | {default} | {kind} | {text} |"


def _flag_row(entry: Entry, rule: Rule) -> str:
    name = entry.path.rpartition("/")[2]
    return (f"| `{name}` | a string | `{show(rule.values[0])}` | one setting | "
            f"{meaning(entry, rule)} |")


def _refused_row(choice: Argument, flag: str, rule: Rule) -> str:
    names = ", ".join(f"`{name}`" for name in (choice.name, *choice.alias))
    inner = [field.name for field in choice.sub_fields.values()]
    keys = f" With it {_listed(inner)}." if inner else ""
    return (f"| `{flag}`: {names} |  |  | refused | {choice.doc} Refused: {rule.note}.{keys} |")


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def restructured_text() -> str:
    """The keys as reStructuredText, with what this program does with each."""
    return "\n\n".join(section.gen_doc(make_anchor=False, make_link=False, use_sphinx_domain=False)
                       for section in described_sections()) + "\n"


if __name__ == "__main__":
    print(reference(), end="")
