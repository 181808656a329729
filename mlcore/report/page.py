"""One self-contained HTML page from blocks: nothing is loaded from anywhere, everything is escaped."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, Literal

_STYLE: Final = """
:root{color-scheme:light dark;--ink:#1d2430;--dim:#5b6678;--line:#d9dee7;--back:#fff;--card:#f5f7fa;--accent:#0072b2;
--good:#007a5a;--bad:#b84a00;--note:#8a6100}
@media(prefers-color-scheme:dark){:root{--ink:#e8ecf2;--dim:#9aa6b8;--line:#343c4a;--back:#12161d;--card:#1b212b;
--accent:#56b4e9;--good:#2fc39a;--bad:#ff8a3d;--note:#e6b450}}
body{font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--ink);background:var(--back);
margin:0 auto;max-width:64rem;padding:2rem 1.25rem 4rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem}h2{font-size:1.25rem;margin:2.4rem 0 .4rem}
p{margin:.4rem 0 .8rem;max-width:46rem;overflow-wrap:anywhere}.lead{font-size:1.1rem;color:var(--dim)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem;margin:1.2rem 0}
.figure{background:var(--card);border-radius:.5rem;padding:.8rem 1rem}
.figure b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}
.figure span{color:var(--dim);font-size:.85rem}
.callout{border-left:.3rem solid var(--accent);background:var(--card);border-radius:0 .5rem .5rem 0;padding:.7rem 1rem;
margin:1rem 0;max-width:46rem;overflow-wrap:anywhere}
.callout.good{border-color:var(--good)}.callout.bad{border-color:var(--bad)}.callout.note{border-color:var(--note)}
.callout b{display:block}
.wide{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.35rem .9rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top;
overflow-wrap:break-word}
th{color:var(--dim);font-weight:600;white-space:nowrap}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.pictures{display:grid;grid-template-columns:repeat(auto-fit,minmax(22rem,1fr));gap:.6rem}
figure{border:1px solid var(--line);border-radius:.5rem;padding:.75rem;overflow-x:auto;margin:.6rem 0}
.pictures figure{margin:0}figure svg{max-width:100%;height:auto;display:block;margin:auto;overflow:visible}
figcaption{font-size:.85rem;color:var(--dim);margin-top:.4rem}
@media(prefers-color-scheme:dark){figure svg{filter:brightness(1.3)}}
@media print{body{max-width:none}figure,.figure,tr{break-inside:avoid}}
"""
_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title><style>{style}</style></head><body>
<h1>{title}</h1>
{body}
</body></html>
"""
_NUMBER: Final = re.compile(r"[-+]?[\d.,]*\d(e[-+]?\d+)?%?")


def heading(text: str) -> str:
    """Return a section's heading."""
    return f"<h2>{html.escape(text)}</h2>"


def sentence(text: str, *, lead: bool = False) -> str:
    """Return a paragraph."""
    return f'<p class="lead">{html.escape(text)}</p>' if lead else f"<p>{html.escape(text)}</p>"


def callout(title: str, text: str, kind: Literal["plain", "good", "bad", "note"] = "plain") -> str:
    """Return a sentence that must not be missed."""
    return f'<div class="callout {kind}"><b>{html.escape(title)}</b>{html.escape(text)}</div>'


def figures(items: Iterable[tuple[str, str]]) -> str:
    """Return key figures: pairs of value and what it is."""
    cells = "".join(
        f'<div class="figure"><b>{html.escape(value)}</b><span>{html.escape(what)}</span></div>'
        for value, what in items
    )
    return f'<div class="figures">{cells}</div>'


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "None.") -> str:
    """Return a table, columns of numbers to the right; where there is no row, `empty`."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        return sentence(empty)
    numeric = [all(map(_is_number, column)) for column in zip(*cells, strict=True)]
    kinds = [' class="number"' if is_numeric else "" for is_numeric in numeric]
    head = "".join(f"<th{kind}>{html.escape(name)}</th>" for kind, name in zip(kinds, header, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{html.escape(cell)}</td>" for kind, cell in zip(kinds, row, strict=True)) + "</tr>"
        for row in cells
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def picture(svg: str, caption: str = "") -> str:
    """Return an SVG that one of our own charts has drawn."""
    told = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{svg}{told}</figure>"


def pictures(items: Iterable[str]) -> str:
    """Return several of what `picture` returned, side by side where there is room."""
    return f'<div class="pictures">{"".join(items)}</div>'


def render(title: str, blocks: Iterable[str]) -> str:
    """Return the whole page."""
    return _PAGE.format(title=html.escape(title), style=_STYLE, body="\n".join(blocks))


def write(path: Path, text: str) -> Path:
    """Write a page; whoever reads it sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.write_text(text, encoding="utf-8")
    return unfinished.replace(path)


def write_page(path: Path, title: str, blocks: Iterable[str]) -> Path:
    """Write the page made of `blocks`."""
    return write(path, render(title, blocks))


def _is_number(cell: str) -> bool:
    return not cell or _NUMBER.fullmatch(cell) is not None
