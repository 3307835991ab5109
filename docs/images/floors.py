"""The picture of the floors, drawn from the table in docs/architecture.md.

    python docs/images/floors.py > docs/images/floors.svg
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.sax.saxutils import escape

PAGE = Path(__file__).resolve().parents[1] / "architecture.md"
ROW = re.compile(r"\| (\d+) \| `([^`]+)` \|[^|]*\|[^|]*\|")
# one colour per folder of the repository
COLORS = {"nvnmd": "#e3eefb", "quantize": "#fdebd0", "mapping": "#fbe3e3", "hdl": "#e4f3df",
          "sim": "#ece3f7", "boards": "#f3f3f3"}
WIDTH, LEFT, HARDWARE, STEP, HEIGHT, GAP, LETTER = 900, 60, 560, 36, 28, 10, 7.4
TOP = 36


def floors(text: str) -> dict[int, list[str]]:
    """Rooms of each floor, floors in the order of the table."""
    found: dict[int, list[str]] = {}
    for floor, room in ROW.findall(text):
        found.setdefault(int(floor), []).append(room)
    return found


def picture(text: str) -> str:
    """Return the SVG: a row per floor, a box per room."""
    rows = floors(text)
    height = TOP + STEP * len(rows) + 34
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
           'font-family="Menlo, Consolas, monospace" font-size="12">',
           "  <title>The floors of nvnmd: a room may import the rooms below it</title>",
           f'  <rect width="{WIDTH}" height="{height}" fill="white"/>']
    for x, title in ((LEFT, "software"), (HARDWARE, "gateware and boards")):
        out.append(f'  <text x="{x}" y="22" fill="#444" font-weight="bold" '
                   f'font-family="Helvetica, Arial, sans-serif">{title}</text>')
    for index, (floor, rooms) in enumerate(rows.items()):
        top = TOP + index * STEP
        out.append(f'  <text x="14" y="{top + 18}" fill="#777">{floor}</text>')
        at = {True: float(HARDWARE), False: float(LEFT)}
        for room in rooms:
            right = room.split("/")[0] in ("hdl", "sim", "boards")
            x = at[right]
            width = LETTER * len(room) + 20
            color = COLORS[room.split("/")[0]]
            out.append(f'  <rect x="{x:g}" y="{top}" width="{width:g}" height="{HEIGHT}" rx="5" '
                       f'fill="{color}" stroke="#555"/>')
            out.append(f'  <text x="{x + width / 2:g}" y="{top + 18}" text-anchor="middle">'
                       f'{escape(room)}</text>')
            at[right] = x + width + GAP
    bottom = TOP + STEP * len(rows)
    out += [f'  <path d="M40,{TOP + 6} V{bottom - 14} m-5,-8 l5,8 l5,-8" stroke="#777" '
            'fill="none"/>',
            f'  <text x="{LEFT}" y="{bottom + 20}" fill="#444" font-family="Helvetica, Arial, '
            'sans-serif">imports point downwards only</text>', "</svg>", ""]
    return "\n".join(out)


if __name__ == "__main__":
    print(picture(PAGE.read_text(encoding="utf-8")), end="")
