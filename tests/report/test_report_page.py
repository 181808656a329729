"""A page loads nothing, runs nothing, and shows what it was given."""

from __future__ import annotations

import html.parser
from pathlib import Path

import pytest

from mlcore.report import markdown, page

EVIL = "<script>alert(1)</script>&\"'"


class _Tags(html.parser.HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def _everything(text: str) -> str:
    return page.render(
        text,
        [
            page.heading(text),
            page.sentence(text),
            page.sentence(text, lead=True),
            page.callout(text, text, "bad"),
            page.figures([(text, text)]),
            page.table((text,), [(text,)]),
            page.table((text,), [], empty=text),
            page.picture("<svg></svg>", text),
        ],
    )


def test_every_block_is_escaped():
    """Text that comes from data is shown, never run."""
    tags = [tag for tag, _ in _Tags(_everything(EVIL)).found]
    assert "script" not in tags
    assert tags == [tag for tag, _ in _Tags(_everything("harmless")).found]


def test_page_forbids_loading_anything():
    """The policy of the page allows no source but its own style, and nothing in it points elsewhere."""
    tags = _Tags(_everything("x")).found
    policy = next(attrs["content"] for tag, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert not [attrs for _, attrs in tags if {"src", "href", "action", "data"} & attrs.keys()]


def test_numbers_stand_to_the_right():
    """A column of nothing but numbers is aligned by its digits; a column of words or days is not."""
    text = page.table(
        ("name", "rows", "share", "day"), [("a", "1,234", "5.0%", "2011-03-01"), ("b", 7, "", "2011-03-02")]
    )
    kinds = [attrs.get("class") for tag, attrs in _Tags(text).found if tag == "th"]
    assert kinds == [None, "number", "number", None]


def test_row_of_the_wrong_length_is_refused():
    """A table that would shift its columns is a mistake of the caller."""
    with pytest.raises(ValueError, match="zip"):
        page.table(("a", "b"), [("only one",)])


def test_page_is_written_whole(tmp_path: Path):
    """The page replaces the old one at once and leaves nothing beside it."""
    path = tmp_path / "deep" / "report.html"
    page.write_page(path, "old", [])
    assert page.write_page(path, "new", [page.sentence("é")]) == path
    assert "<h1>new</h1>" in path.read_text(encoding="utf-8")
    assert [path] == list(path.parent.iterdir())


def test_markdown_cells_cannot_break_the_table():
    """Bars and line breaks in data stay inside their cell."""
    lines = markdown.table(("a",), [("x|y\nz",)]).splitlines()
    assert lines == ["| a |", "|---|", r"| x\|y z |"]
