"""`mlops trace`: everything behind an id and everything that came of it, as a tree and as a page."""

from __future__ import annotations

import io
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows._cli.installation import Answer, load, open_ledger
from flows.settings import Settings, settings
from mlcore.errors import MLOpsError
from mlcore.usecase import list_usecases

if TYPE_CHECKING:
    from mlcore.ledger.graph import Trace


def trace(identifier: str, page: Path | None = None) -> Answer:
    """Return the graph around an id, drawn on `page` where one is given.

    Raises
    ------
    LedgerError
        If nothing has this id.
    """
    from mlcore.ledger.trace import trace as follow

    here = settings()

    def find(row_id: str) -> Any:
        stores = ((name, _store(here, name)) for name in list_usecases(here.usecases))
        return next(((name, row) for name, store in stores if (row := store.find(row_id)) is not None), None)

    def count(usecase: str, version: int) -> Any:
        return _store(here, usecase).answered(version) if usecase in list_usecases(here.usecases) else None

    with open_ledger(here).read() as view:
        found = follow(view, identifier, find, count)
    text = _tree(found)
    if page is not None:
        from mlcore.report.lineage import write_lineage_page

        try:
            write_lineage_page(found, page)
        except OSError as error:
            raise MLOpsError("the page cannot be written", subject=str(page), got=str(error)) from None
        text += f"\n{page}"
    return asdict(found), text


def _store(here: Settings, name: str) -> Any:
    from mlcore.capture.store import CaptureStore

    return CaptureStore(here.lake_root, name, load(here, name).contract)


def _tree(found: Trace) -> str:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    from mlcore.ledger.graph import lines

    is_terminal = sys.stdout.isatty()
    root = Tree(Text(found.identifier, style="bold"), guide_style="dim")
    branches = [root]
    for depth, place, again in lines(found):
        step = found.steps[place]
        named = Text.assemble((f"{step.kind} ", "cyan"), step.sentence)
        when = Text(f"  {'see above' if again else f'{step.at:%Y-%m-%d %H:%M:%S}'}", style="dim")
        del branches[depth + 1 :]
        branches.append(branches[depth].add(named + when))
    # what is piped is not wrapped: a line is a step
    console = Console(
        file=io.StringIO(), force_terminal=is_terminal, width=None if is_terminal else 10_000, highlight=False
    )
    with console.capture() as captured:
        console.print(root)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
