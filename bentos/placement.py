"""Which Bento serves which use case, kept on disk, so that a restarted host serves the same again."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

_FORMAT: Final = 1
_FILE: Final = "services.json"


@dataclass(frozen=True, slots=True)
class Placement:
    """A use case's Bento."""

    usecase: str
    model_version: int
    bento_path: str


@dataclass(frozen=True, slots=True)
class Desired:
    """What shall serve a use case, and what served it before, for a rollback."""

    current: Placement
    previous: Placement | None = None

    def then(self, placement: Placement) -> Desired:
        """Return what is desired after `placement` took over; the same one again has no new past."""
        return Desired(placement, self.previous if placement == self.current else self.current)


class PlacementFile:
    """The desired state of a host: written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE

    def load(self) -> dict[str, Desired]:
        """Return the desired state by use case."""
        if not self._path.is_file():
            return {}
        items = json.loads(self._path.read_text(encoding="utf-8"))["services"]
        desired = [
            Desired(Placement(**item["current"]), Placement(**item["previous"]) if item["previous"] else None)
            for item in items
        ]
        return {item.current.usecase: item for item in desired}

    def save(self, desired: dict[str, Desired]) -> None:
        """Replace the desired state."""
        unfinished = self._path.with_suffix(".new")
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump({"format": _FORMAT, "services": [asdict(item) for item in desired.values()]}, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self._path)
