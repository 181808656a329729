"""Markdown for Prefect artifacts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a Markdown table.

    Examples
    --------
    >>> print(table(("a", "b"), [(1, "x|y")]))
    | a | b |
    |---|---|
    | 1 | x\\|y |
    """
    lines = [header, ["---"] * len(header), *rows]
    body = ["| " + " | ".join(_cell(value) for value in line) + " |" for line in lines]
    body[1] = "|" + "---|" * len(header)
    return "\n".join(body)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
