"""Write the generated pages: `python -m docs.build`; with --check, say which are out of date and write none."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from docs import catalogue_page, events_page, usecase_page

ROOT: Final = Path(__file__).parent.parent


def _schema(_root: Path) -> str:
    from mlcore.usecase import UseCase

    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **UseCase.model_json_schema(mode="validation"),
        "title": "usecase.yaml",
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


#: Every generated file, and what writes it.
PAGES: Final[Mapping[str, Callable[[Path], str]]] = {
    "docs/usecase.md": usecase_page.page,
    "docs/events.md": events_page.page,
    "docs/catalogue.md": catalogue_page.page,
    "usecases/usecase.schema.json": _schema,
}


def build(root: Path = ROOT) -> Mapping[str, str]:
    """Return the text of every generated file, by its path from the root."""
    return {name: write(root) for name, write in PAGES.items()}


def stale(root: Path = ROOT) -> list[str]:
    """Return the generated files that are missing or do not say what they should."""
    return [
        name
        for name, text in build(root).items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text
    ]


def main(arguments: list[str]) -> int:
    """Write, or check, every generated file."""
    if "--check" in arguments:
        for name in (found := stale()):
            sys.stderr.write(f"{name} is out of date: run `make docs`\n")
        return 1 if found else 0
    for name, text in build().items():
        (ROOT / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
