"""One offline HTML page per checked batch, for people."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlcore.quality.report import QualityReport

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>body{{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;
padding:0 1rem;color-scheme:light dark}}
table{{border-collapse:collapse;width:100%}}td,th{{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #8884;
vertical-align:top}}.no{{color:#d55e00;font-weight:600}}.yes{{color:#009e73}}</style>
<h1>{title}</h1><p>{sentence}</p><table><tr><th>holds</th><th>column</th><th>expected</th><th>found</th></tr>
{rows}</table></html>
"""


def write_data_docs(report: QualityReport, folder: Path, *, title: str = "Quality of a batch") -> Path:
    """Write ``index.html`` about `report` into `folder`; what fails comes first."""
    failed = len(report.failures)
    sentence = f"{report.rows:,} rows, {len(report.checks)} checks, {failed or 'none'} failed."
    rows = "\n".join(
        f'<tr><td class="{"yes" if check.passed else "no"}">{"yes" if check.passed else "no"}</td>'
        f"<td>{html.escape(check.column or 'the table')}</td><td>{html.escape(check.expected)}</td>"
        f"<td>{html.escape('' if check.passed else check.sentence)}</td></tr>"
        for check in sorted(report.checks, key=lambda check: check.passed)
    )
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "index.html"
    page.write_text(_PAGE.format(title=html.escape(title), sentence=sentence, rows=rows), encoding="utf-8")
    return page
