"""The installation that a command is about: its ledger and its use cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.settings import Settings
from mlcore.errors import ServerError
from mlcore.ledger.store import Ledger
from mlcore.usecase import UseCase, find_usecase

#: The facts for --json, and the text for a person.
Answer = tuple[Any, str]


def open_ledger(here: Settings) -> Ledger:
    """Open the ledger of an installation that is there.

    Raises
    ------
    ServerError
        If there is none.
    """
    if here.ledger.startswith("sqlite:///") and not Path(here.ledger.removeprefix("sqlite:///")).is_file():
        raise ServerError(
            "there is no installation here",
            subject=str(here.root),
            remedy="`make up` makes one; MLOPS_HOME says where to look.",
        )
    return Ledger.open(here.ledger)


def load(here: Settings, name: str) -> UseCase:
    """Return a use case of the installation."""
    return find_usecase(here.usecases, name)
