#!/bin/sh
# Three surprises met while writing pages and checking JSON, shown without this package.
# Each line says what is seen; the exit code is not 0 if one of them has changed.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q --disable-pip-version-check install matplotlib==3.11.2 shtab==1.13.0 \
    jschon==0.11.1 rfc3986==2.0.0
"$work/venv/bin/python" - <<'PYTHON'
import argparse
import io
import re
import warnings

import matplotlib
from matplotlib.figure import Figure

# 1. text.parse_math=False is meant for labels that hold dollar signs; it also turns the tick labels
#    of logarithmic axes, which the library writes as math itself, into raw TeX.
found = {}
for parse in (True, False):
    with matplotlib.rc_context({"text.parse_math": parse, "svg.fonttype": "none"}):
        figure = Figure()
        axes = figure.subplots()
        axes.plot([1, 2], [1e-3, 1e3])
        axes.set_yscale("log")
        out = io.StringIO()
        figure.savefig(out, format="svg")
    found[parse] = re.findall(r"\$\\mathdefault\{10\^\{[^<]*", re.sub(r"<!--.*?-->", "",
                                                                     out.getvalue()))
print(f"matplotlib {matplotlib.__version__}: raw TeX on a log axis: "
      f"{len(found[True])} labels with text.parse_math, {len(found[False])} without, as "
      f"{found[False][0] if found[False] else None!r}")
first = not found[True] and len(found[False]) > 3

# 2. shtab leaves out every subcommand whose parser was added without help=, although argparse
#    accepts it on the command line.
import shtab

parser = argparse.ArgumentParser(prog="tool")
commands = parser.add_subparsers()
commands.add_parser("shown", help="a command")
commands.add_parser("quiet").add_argument("--option")
assert parser.parse_args(["quiet", "--option", "1"]).option == "1"
script = shtab.complete(parser, shell="bash")
print(f"shtab {shtab.__version__}: completes shown: {'shown' in script}, "
      f"completes quiet: {'quiet' in script}")
second = "shown" in script and "quiet" not in script

# 3. jschon's create_catalog calls what rfc3986 2.0 has deprecated, so that it cannot be used where
#    warnings are errors.
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import jschon

    jschon.create_catalog("2020-12")
kinds = {warning.category.__name__ for warning in caught if "rfc3986" in str(warning.message)}
print(f"jschon {jschon.__version__} with rfc3986 2.0.0: create_catalog warns: {sorted(kinds)}")
third = kinds == {"DeprecationWarning"}
raise SystemExit(0 if first and second and third else 1)
PYTHON
