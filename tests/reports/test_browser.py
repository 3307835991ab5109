"""The report in a real browser: no error, no request, nothing wider than the screen.

`make report-check` runs this; it needs Chromium (Debian package chromium) and keeps screenshots in
the folder that REPORT_CHECK names, for people to look at.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlparse

import pytest
from support.report_runs import HOSTILE, make_run

pytestmark = pytest.mark.slow
SIZES = {"phone": (390, 844), "desktop": (1280, 900)}
# so high that a screenshot shows the whole page
HEIGHTS = {"phone": 30_000, "desktop": 18_000}
# what the reader's system asks for, as Chromium numbers it
THEMES = {"dark": 0, "light": 1}
# the browser's own wishes are turned off as far as it lets itself be told; nothing gets out
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync",
           "--disable-extensions", "--enable-logging=stderr", "--log-level=0",
           "--proxy-server=http://127.0.0.1:9")


@pytest.fixture(scope="module")
def chromium() -> str:
    """The program, or skip."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return name
    pytest.skip("Chromium is not installed (Debian package chromium)")


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The report of two runs, the second with hostile names."""
    pytest.importorskip("matplotlib")
    from nvnmd.reports.page import write_report

    folder = tmp_path_factory.mktemp("page")
    make_run(folder / "plain")
    make_run(folder / "host <script>ile", names=(HOSTILE, "Au"), command=HOSTILE, seed=5)
    write_report([folder / "plain", folder / "host <script>ile"], folder / "report.html")
    return folder / "report.html"


def look(chromium: str, page: Path, folder: Path, size: tuple[int, int], *options: str
         ) -> tuple[str, str, set[str]]:
    """Open a page: what it printed, its messages, and the hosts that it asked for.

    The browser asks for some by itself, the more the longer it runs: nobody's origin began these.
    """
    log = folder / "net.json"
    done = subprocess.run(
        [chromium, *OPTIONS, f"--user-data-dir={folder / 'user'}", f"--log-net-log={log}",
         f"--window-size={size[0]},{size[1]}", *options, page.as_uri()],
        capture_output=True, text=True, timeout=120, check=True)
    messages = "\n".join(line for line in done.stderr.splitlines() if ":CONSOLE:" in line)
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    begun = [event["params"] for event in events
             if isinstance(event.get("params"), dict) and "initiator" in event["params"]]
    asked = {one["url"] for one in begun if one["initiator"] != "not an origin"
             or "file:" in one.get("network_isolation_key", "")}
    return done.stdout, messages, {host for url in asked if (host := urlparse(url).hostname)}


def test_a_page_that_asks_and_fails_is_caught(chromium, tmp_path):
    bad = tmp_path / "bad.html"
    bad.write_text("<script>console.error('wrong')</script><img src='http://example.invalid/x'>")
    _, messages, hosts = look(chromium, bad, tmp_path, SIZES["phone"], "--dump-dom")
    assert "wrong" in messages and hosts == {"example.invalid"}


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", SIZES)
def test_no_error_no_request(chromium, page, tmp_path, name, theme):
    image = pytest.importorskip("matplotlib.image")
    shots = Path(os.environ.get("REPORT_CHECK", tmp_path))
    shots.mkdir(parents=True, exist_ok=True)
    picture = shots / f"report_{name}_{theme}.png"
    size = SIZES[name][0], HEIGHTS[name]
    _, messages, hosts = look(chromium, page, tmp_path, size, f"--screenshot={picture}",
                              f"--blink-settings=preferredColorScheme={THEMES[theme]}")
    assert messages == "" and hosts == set()
    pixels = image.imread(picture)[..., :3]
    assert pixels.shape[:2] == size[::-1]
    # the ground of the theme, and something on it; nothing but ground at the page's end
    ground = pixels[-1, -1]
    assert (ground.mean() > 0.5) == (theme == "light")
    drawn = abs(pixels - ground).max(-1) > 0.2
    assert drawn.mean() > 0.01 and not drawn[-100:].any()


@pytest.mark.parametrize("name", SIZES)
def test_nothing_is_wider_than_the_screen(chromium, page, tmp_path, name):
    # in a frame of that width, whose outside may run a script, which the page itself forbids
    text = page.read_text(encoding="utf-8")
    width, height = SIZES[name]
    copy = tmp_path / "frame.html"
    copy.write_text(
        f'<!DOCTYPE html><meta charset="utf-8"><title>wait</title>'
        f'<iframe style="width:{width}px;height:{height}px;border:0" srcdoc="{html.escape(text)}" '
        'onload="var inner = this.contentDocument; document.title = [inner.documentElement'
        ".scrollWidth, this.contentWindow.innerWidth, inner.querySelectorAll('svg').length]"
        ".join(' ')\"></iframe>", encoding="utf-8")
    dom, _, _ = look(chromium, copy, tmp_path, (1400, 1000), "--dump-dom")
    wide, shown, figures = map(int, re.search(r"<title>(\d+) (\d+) (\d+)</title>", dom).groups())
    assert wide <= shown == width and figures > 30
