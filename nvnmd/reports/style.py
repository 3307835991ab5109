"""The page's style sheet, and the colours that figures and page share."""

from __future__ import annotations

LIGHT = ("#1f5fa8", "#c2500a", "#2a7d4f", "#8b3fa0", "#a8324a", "#0f7f8c", "#7a6400", "#5b5b5b")
"""Colours of series on white; told apart with the usual forms of colour blindness, too."""
DARK = ("#7fb2ee", "#f2a25c", "#72c795", "#cf97e2", "#f08aa0", "#63c7d4", "#d6bb4a", "#b5b5b5")
"""The same on a dark ground."""


def style_sheet() -> str:
    """CSS for a wide screen, a phone and paper, light and dark."""
    light = "".join(f"--s{k}:{colour};" for k, colour in enumerate(LIGHT))
    dark = "".join(f"--s{k}:{colour};" for k, colour in enumerate(DARK))
    light_theme = "--ink:#1a1a1a;--dim:#5c5c5c;--ground:#fff;--card:#f6f6f4;--line:#d5d5d0;"
    dark_theme = "--ink:#e8e8e4;--dim:#a9a9a4;--ground:#16181b;--card:#1f2226;--line:#3c4046;"
    return f"""
:root{{color-scheme:light dark;{light_theme}{light}}}
@media (prefers-color-scheme:dark){{:root{{{dark_theme}{dark}}}}}
@media print{{:root{{color-scheme:light;{light_theme}{light}}}}}
{_RULES}"""


_RULES = """\
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);line-height:1.45;
 font-family:system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main,header,nav{max-width:72rem;margin:0 auto;padding:0 1rem}
h1{font-size:1.5rem;margin:1.2rem 0 .2rem}
h2{font-size:1.2rem;margin:2rem 0 .4rem;border-bottom:1px solid var(--line);padding-bottom:.2rem}
h3{font-size:1rem;margin:1.2rem 0 .3rem}
h1,h2,h3,p,code,summary,figcaption{overflow-wrap:anywhere}
/* paths and digests break where they must; a table of many columns scrolls instead */
td:nth-child(-n+2):last-child{overflow-wrap:anywhere}
td:first-child:nth-last-child(2),td:nth-child(2):nth-last-child(2),td:nth-child(3):last-child{
 overflow-wrap:anywhere}
p,figcaption{max-width:46rem}
.dim,figcaption{color:var(--dim);font-size:.9rem}
nav{padding-top:.4rem;padding-bottom:.4rem}
nav a{display:inline-block;margin-right:.9rem;padding:.25rem 0}
a{color:var(--s0)}
.figures{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(min(21rem,100%),1fr))}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:6px;
 padding:.6rem;break-inside:avoid}
figure.wide{grid-column:1/-1}
figure.wide{max-width:50rem;overflow-x:auto}
figure:only-child{max-width:36rem}
.figures+.scroll{margin-top:.8rem}
svg{display:block;width:100%;height:auto;color:var(--ink)}
.scroll{overflow-x:auto;max-width:100%}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.25rem .7rem .25rem 0;border-bottom:1px solid var(--line);
 vertical-align:top}
td:first-child,th:first-child{min-width:5.5rem}
th.n,td.n{text-align:right}
th.n{min-width:4.5rem}
td.n,span.n{white-space:nowrap}
code{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.85rem}
summary{cursor:pointer;padding:.3rem 0}
.note{border-left:3px solid var(--s1);padding:.2rem .7rem;margin:.6rem 0;max-width:46rem}
@media (max-width:40rem){figure.wide svg{min-width:32rem}
 h1{font-size:1.25rem}th,td{padding-right:.5rem;font-size:.85rem}}
@media print{nav{display:none}body{font-size:10pt}main,header{max-width:none}
 .figures{grid-template-columns:1fr 1fr}figure{background:none}.scroll{overflow:visible}
 td{overflow-wrap:anywhere}figure.wide svg{min-width:0}
 h2,h3,h4,.dim{break-after:avoid}}
"""
