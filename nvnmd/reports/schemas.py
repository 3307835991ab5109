"""The forms of what `--json` prints, as JSON Schema, and the page that documents them.

`python -m nvnmd.reports.schemas > docs/json.md` writes the page; a test compares the two.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def text(about: str) -> Schema:
    return {"type": "string", "description": about}


def number(about: str, *, empty: bool = False) -> Schema:
    """A number; `empty` where null stands for none."""
    return {"type": ["number", "null"] if empty else "number", "description": about}


def whole(about: str, *, empty: bool = False) -> Schema:
    """An integer; `empty` where null stands for none."""
    return {"type": ["integer", "null"] if empty else "integer", "description": about}


def truth(about: str) -> Schema:
    return {"type": "boolean", "description": about}


def many(items: Schema, about: str) -> Schema:
    return {"type": "array", "items": items, "description": about}


def named(values: Schema, about: str) -> Schema:
    """An object whose keys are names."""
    return {"type": "object", "additionalProperties": values, "description": about}


def keys(about: str, *, optional: dict[str, Schema] | None = None, **required: Schema) -> Schema:
    """An object with these keys and no others."""
    return {"type": "object", "description": about, "properties": required | (optional or {}),
            "required": list(required), "additionalProperties": False}


ERRORS = named(keys("errors of one quantity", mae=number("mean absolute error"),
                    rmse=number("root mean square error"), count=whole("numbers in it"),
                    unit=text("eV or eV/Å")),
               "by quantity: energy, energy_peratom, force, virial, virial_peratom; those with "
               "labels")
LAYOUT = keys("rows of a table", rows=whole("rows"), **{"from": number("start"), "to": number(
    "end")}, segments=many(keys("rows of one step", **{"from": number("start")},
                                step=number("step"), rows=whole("rows")), "in order"))
COST = keys("what a stage changes", rms=number("root mean square"), mean=number("mean"),
            share=number("part of the whole difference's mean square"))
BUDGET = keys("of one quantity", unit=text("eV or eV/Å"), count=whole("numbers"),
              rms=number("whole difference"), mean=number("whole difference"),
              stages=named(COST, "by stage, in the order of the data flow"), remainder=COST)
NARROWED = keys(
    "a set of widths", widths=named(whole("bits"), "by the names of docs/widths.md"),
    energy=number("root mean square error per atom in eV; null without labels, or where a value "
                  "left its format", empty=True),
    force=number("of the forces in eV/Å; null where a value left its format", empty=True),
    rise=number("of the force error in percent; null where a value left its format", empty=True),
    left=text("what left its format, empty for none"),
    multiplier_bits={"type": ["integer", "null"], "description": "of the accelerator: products of "
                     "the operands' widths, summed; null where it was not counted"},
    memory_bits={"type": ["integer", "null"], "description": "of the accelerator; null likewise"})
SOME = keys("some errors", rmse=number("root mean square"), mae=number("mean magnitude"),
            largest=number("largest magnitude"), count=whole("numbers"))
DATA = {"path": text("what was asked for"),
        "digest": {"type": ["string", "null"], "description": "of the frozen model; null without"},
        "part": text("validation, training or given"), "type_map": many(text("element"), "order "
        "of the types"), "systems": many(text("path"), "data")}
PART = keys("a library or program", name=text("name"), kind=text("library or program"),
            works=truth("there, in a version that will do"), version=text("found"),
            needs=text("versions that will do"), where=text("where from, or what is wrong"),
            commands=many(text("command"), "that need it"), use=text("what else for"),
            cure=text("what installs it"))

TABULATED = many(keys("a function", name=text("s, h, ds/du, ..., dG/ds"), argument=text("u or s"),
                      largest=number("error"), where=number("argument"), rms=number("error"),
                      over_data=number("RMS over the data's pairs, null without", empty=True),
                      x=many(number("argument"), "arguments"),
                      error=many(number("error"), "largest at each")), "tabulated functions")
TABLES = {**DATA, "layout": text("vendor, octave, octave8 or other: the model's"),
          "smallest": number("distance in Å"), "pairs": whole("neighbours counted"),
          "errors": TABULATED, "others": named(TABULATED, "tables of another layout"),
          "density": named(keys("a histogram", edges=many(number("edge"), "edges"),
                                counts=many(whole("pairs"), "counts")), "of u and s")}

SIMULATION: Schema = {
    "type": "object", "description": "nvnmd simulate --json: what summary.json holds",
    "properties": {
        "atoms": whole("simulated"), "words_expected": whole("words"),
        "words_compared": whole("words"), "words_differing": whole("words"),
        "first_difference": {"type": ["string", "null"], "description": "by stage"},
        "cycles_per_atom": number("clock cycles"), "cycles": whole("in all"),
        "model_digest": text("SHA-256"),
        "problems": many(text("line"), "why it failed; empty if it did not"),
        "mode": text("SUB_VERSION 2: machine, whose words were compared"),
        "mode_difference": keys("SUB_VERSION 2: how far the graph's words are, at most",
                                energy=number("eV"), force=number("eV/Å"))},
    "required": ["atoms", "words_compared", "words_differing", "problems"]}

SCHEMAS: dict[str, Schema] = {
    "info": {"type": "object", "description": "nvnmd info MODEL --json: keys by kind, see "
             "report.md", "properties": {
                 "path": text("what was asked for"), "kind": text("model, run folder, ..."),
                 "file": text("what was read"), "bytes": whole("size"),
                 "version": whole("NVNMD version"), "sub_version": whole("SUB_VERSION"),
                 "type_map": many(text("element"), "order of the types"),
                 "sel": many(whole("slots"), "neighbour slots"),
                 "rcut": number("Å", empty=True), "digest": text("SHA-256 of the content"),
                 "table_layout": text("vendor, octave, octave8 or other"),
                 "tables": named(LAYOUT, "layouts of the tables along u and s"),
                 "ranges": named(number("largest magnitude", empty=True), "by array"),
                 "origin": {"type": "object", "description": "where the model comes from"}},
             "required": ["path", "kind"]},
    "doctor": keys("nvnmd doctor --json",
                   command={"type": ["string", "null"], "description": "that of --for"},
                   works=truth("whether it has all it needs"),
                   disabled=many(text("command"), "commands that do not work"),
                   parts=many(PART, "libraries and programs")),
    "test": keys("nvnmd test --json", model=text("as given"), backend=text("float, fixed or sim"),
                 systems=many(keys("one system", system=text("path"), frames=whole("evaluated"),
                                   dropped=whole("neighbours beyond sel"), errors=ERRORS),
                              "in order"),
                 average=ERRORS),
    "compare": keys("nvnmd compare --json", atoms=whole("atoms"), compared=whole("words"),
                    differing=whole("words that differ"), notes=many(text("line"), "remarks"),
                    first={"type": ["string", "null"], "description": "the first that differs"}),
    "neighbor-stat": keys("nvnmd neighbor-stat --json", rcut=number("Å"),
                          type_map=many(text("element"), "order of the types"),
                          nearest=number("smallest distance in Å, null without any", empty=True),
                          most=many(whole("neighbours"), "most of each type"),
                          most_in_all=whole("most of any type"),
                          factor=number("slots per neighbour"),
                          sel=named(many(whole("slots"), "sel"), "proposal by NVNMD version")),
    "simulate": SIMULATION,
    "export-hdl": keys(
        "nvnmd export-hdl MODEL --json", output=text("folder"), model_digest=text("SHA-256"),
        parameters={"type": "object", "description": "of the accelerator, as in manifest.json"},
        files=named(whole("bytes"), "by name"),
        budget={"type": ["object", "null"], "description": "what budget.json holds; null without "
                "--report"},
        resources={"type": ["object", "null"], "description": "what resources.json holds; null "
                   "without --count-cells"}),
    "boards": keys("nvnmd boards --json", boards=many(keys(
        "a board", name=text("name"), part=text("FPGA"), oscillator=number("Hz"),
        link=text("how it is reached"), luts=whole("LUT, null if it is simulated", empty=True),
        multipliers=whole("multipliers, likewise", empty=True),
        memories=whole("memory blocks, likewise", empty=True), checked=text("how far it was seen"),
        takes={"type": ["string", "null"], "description": "what the model takes; null without"}),
        "boards")),
    "board-models": keys("nvnmd boards --models --json", models=many(keys(
        "what a board takes of an unmodified DeePMD-kit model", version=whole("NVNMD version"),
        types=whole("most types"), neighbors=whole("most neighbours of an atom"),
        board=text("name"), multipliers=whole("multiplier blocks needed"),
        multipliers_available=whole("that the FPGA has"),
        memories=whole("memory blocks needed"), memories_available=whole("that the FPGA has"),
        bits=whole("memory bits needed"), bits_available=whole("in the FPGA's memory blocks"),
        takes=truth("whether it has as many; logic is not counted")), "models and boards")),
    "build": keys(
        "nvnmd build --json: what report.json holds", output=text("folder"),
        nvnmd=text("version of this program"), board=text("name"),
        part=text("FPGA, or the simulator"), files=named(text("SHA-256"), "by name"), optional={
            "tools": named(text("version"), "programs of others that ran; none for Vivado"),
            "model_digest": text("SHA-256; none with --echo"),
            "parameters": {"type": "object", "description": "of the accelerator, as in "
                           "manifest.json"},
            "fingerprint": text("of the parameters, as a board tells it"),
            "cycles_per_atom": whole("with every slot taken"),
            "digest_cycles": whole("cycles in which the memories of the model are read back"),
            "clock_asked": number("MHz, of an FPGA"),
            "clock_achieved": number("MHz, where it was placed and routed"),
            "critical_path": text("slowest way from register to register, likewise"),
            "seed": whole("of placement, likewise"),
            "used": named(whole("cells"), "by kind, likewise"),
            "available": named(whole("cells"), "by kind, likewise"),
            "vivado_part": text("of a project for Vivado"),
            "microseconds_per_atom": number("at clock_asked")}),
    "check": keys("nvnmd check INPUT --json", input=text("as given"),
                  valid=truth("whether there is no mistake"),
                  warnings=many(text("line"), "what has no effect or is replaced"),
                  mistakes=many(text("line"), "file, path of the key, what was expected"),
                  document={"type": ["object", "null"], "description": "with all defaults, as a "
                            "training writes it; null if it is not valid"}),
    "demo": keys("nvnmd demo --json", folder=text("of the demo"), title=text("what the data are"),
                 seconds=named(number("wall time"), "by stage"),
                 errors=named(ERRORS, "on the validation part, by network"), cost=ERRORS,
                 simulation={**SIMULATION, "description": "as simulate has it"},
                 board={"type": ["object", "null"], "description": "the same frame on the board "
                        "that --board names, as simulate has it; null without"},
                 parts=named(keys("a part of the folder", files=whole("files"),
                                  bytes=whole("size")), "by name")),
    "presets": keys("nvnmd presets MODEL --json", model=text("as given"), presets=many(keys(
        "a preset", preset=text("name"), fold=whole("cycles per neighbour"),
        fit_cols=whole("columns of the fitting array"), fit_rows=whole("its rows"),
        fit_atoms=whole("atoms that take turns in it"),
        neighbors=whole("of each atom: the model's slots"),
        cycles_per_atom=whole("with so many neighbours, in a full pipeline"),
        part=text("FPGA"), multiplier=text("its block"), multipliers=whole("blocks taken"),
        multipliers_of_part=whole("blocks there are"), memory=text("its block"),
        memories=whole("blocks taken"), memories_of_part=whole("blocks there are"),
        holds={"type": "boolean", "description": "the part has as many blocks"}), "by size")),
    "plot.lcurve": keys("nvnmd plot lcurve DIR --json", path=text("what was asked for"),
                        curves=named(keys("a learning curve", columns=many(text("name"), "columns"),
                                          rows=many(many(number("value", empty=True), "a row"),
                                                    "rows")), "by folder")),
    "plot.parity": keys("nvnmd plot parity DIR --json", **DATA, frames=whole("evaluated"),
                        available=whole("in the data"), atoms=whole("of the frames in all"),
                        dropped=whole("neighbours beyond the model's slots, left out"),
                        quantities=many(keys(
                            "a quantity", name=text("energy, force or virial"), unit=text("unit"),
                            label=many(number("label"), "labels"),
                            predicted=named(many(number("value"), "predictions"), "by backend"),
                            element={"type": ["array", "null"], "items": whole("type"),
                                     "description": "index into type_map; null without"},
                            errors=named(keys("errors", all=SOME, by_element=named(
                                SOME, "by element")), "by backend")), "those with labels")),
    "tables": keys("nvnmd tables MODEL --json", **TABLES),
    "widths": keys("nvnmd widths MODEL --json", model=text("as it was named"),
                   bound=number("largest rise of the force error in percent"), whole=NARROWED,
                   best=NARROWED,
                   alone=named(many(NARROWED, "widest first"), "by the width that is narrower"),
                   together=many(NARROWED, "sets of several narrower widths, as they were tried")),
    "plot.tables": keys("nvnmd plot tables DIR --json", **TABLES),
    "plot.budget": keys("nvnmd plot budget DIR --json", **DATA, frames=whole("evaluated"),
                        quantities=named(BUDGET, "energy and force")),
}


def schema(kind: str) -> Schema:
    """The JSON Schema of a whole document; its key `schema` is the name."""
    found = SCHEMAS[kind]
    name = {"const": f"nvnmd.{kind}.1", "description": "name and number of this form"}
    return {"$schema": DRAFT, "$id": f"urn:nvnmd:{kind}:1", **found,
            "properties": {"schema": name, **found["properties"]},
            "required": ["schema", *found["required"]]}


def page() -> str:
    """The page docs/json.md."""
    lines = ["# What `--json` prints", "",
             "One JSON document on standard output; warnings go to standard error, and the exit "
             "code is that of the command.", "Its key `schema` names its form: a form that changes "
             "in a way that breaks readers gets another number. What is not", "a finite number is "
             "null. `nvnmd.reports.schemas.schema(KIND)` gives each form as JSON Schema, and tests "
             "hold what is", "printed against it. This page is made by `python -m "
             "nvnmd.reports.schemas > docs/json.md`."]
    for kind, found in SCHEMAS.items():
        command, colon, more = found["description"].partition(": ")
        lines += ["", f"## nvnmd.{kind}.1", "", f"`{command}`{colon}{more}", "",
                  "| key | type | what |", "|---|---|---|", *_rows(found, "")]
    return "\n".join(lines) + "\n"


def _rows(found: Schema, where: str) -> list[str]:
    """Rows of a table: keys with their paths; `[]` is each entry, `*` each name."""
    rows = []
    for key, value in found.get("properties", {}).items():
        rows += _row(value, f"{where}{key}")
    return rows


def _row(value: Schema, path: str) -> list[str]:
    kind = value["type"]
    shown = " or ".join(kind) if isinstance(kind, list) else kind
    rows = [f"| `{path}` | {shown} | {value['description']} |"]
    if "properties" in value:
        return rows + _rows(value, f"{path}.")
    inner, mark = value.get("items"), "[]"
    if isinstance(value.get("additionalProperties"), dict):
        inner, mark = value["additionalProperties"], ".*"
    if inner is None:
        return rows
    if "properties" in inner:
        return rows + _rows(inner, f"{path}{mark}.")
    # entries that are plain say nothing that the row above does not
    nested = isinstance(inner.get("additionalProperties"), dict) or inner["type"] == "array"
    return rows + (_row(inner, f"{path}{mark}") if nested else [])


if __name__ == "__main__":
    print(page(), end="")
