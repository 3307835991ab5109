"""`make docs-check`: run every block of the tutorial and the how-to pages, in their order.

All pages share one scratch folder, where `nvnmd demo` runs first. The block that fails ends the
run with its page, its line and what it printed. A block that is not run says why on the page. Lines
that a page quotes as output must be printed by the block before them.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from support.doc_blocks import RUN_PAGES, Block, blocks_of

ROOT = Path(__file__).resolve().parents[2]


def run(block: Block, work: Path) -> subprocess.CompletedProcess[str]:
    """Run a block with this interpreter's folder of programs first on PATH."""
    programs = Path(sys.executable).parent
    argv = ["bash", "-euo", "pipefail", "-c", block.text] if block.language == "sh" else [
        sys.executable, "-c", block.text]
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(argv, cwd=work, env={**os.environ, "PATH": path}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)


def main(names: list[str]) -> int:
    """Run the blocks of some pages, or of all, in a scratch folder; 1 where one fails."""
    with tempfile.TemporaryDirectory(prefix="nvnmd-docs-") as folder:
        return run_pages(names, Path(folder))


def run_pages(names: list[str], folder: Path) -> int:
    """Run the blocks of some pages, or of all, in a folder; 1 where one fails."""
    done = skipped = 0
    demo = Block(line=0, language="sh", text="nvnmd demo -o nvnmd_demo")
    pages = [(name, blocks_of(ROOT / "docs" / f"{name}.md", "sh", "python", "text"))
             for name in names or RUN_PAGES]
    for name, blocks in [("the demo before all pages", [demo]), *pages]:
        printed: set[str] = set()
        for block in blocks:
            if block.language == "text":
                quoted = block.text.splitlines() if block.output else []
                missing = [line for line in quoted if line.strip() not in printed]
                if missing:
                    print(f"{name}:{block.line}: not printed: {missing[0]}", flush=True)
                    return 1
                continue
            if block.reason:
                print(f"{name}:{block.line}: not run, {block.reason}", flush=True)
                skipped += 1
                continue
            begin = time.monotonic()
            result = run(block, folder)
            printed = {line.strip() for line in result.stdout.splitlines()}
            if result.returncode:
                print(f"{name}:{block.line}: exit code {result.returncode}\n{block.text}\n"
                      f"{result.stdout}", flush=True)
                return 1
            print(f"{name}:{block.line}: {time.monotonic() - begin:.0f} s", flush=True)
            done += 1
    print(f"docs-check: {done} blocks run, {skipped} not run")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
