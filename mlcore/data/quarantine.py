"""Batches that failed their checks: kept with the reasons, never trained on, never lost."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

REASONS = "reasons.json"
#: What a file of data ends in.
DATA = frozenset({".csv", ".parquet"})


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One batch: where it is and why."""

    batch_id: str
    path: Path
    source: str
    reasons: tuple[str, ...]


class QuarantineStore:
    """A folder with one folder a batch.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def keep(
        self, usecase: str, batch_id: str, source: str, reasons: Sequence[str], table: pa.Table | None = None
    ) -> Path:
        """Keep a batch and the reasons, whole or not at all; the same batch again changes nothing.

        The source file's own bytes are kept where it is a local file of data, otherwise `table` as Parquet, where there
        is one.
        """
        place = self.root / usecase / batch_id
        if place.is_dir():
            return place
        unfinished = place.with_name(f".{batch_id}.{secrets.token_hex(4)}")
        unfinished.mkdir(parents=True)
        file = Path(source.removeprefix("file://"))
        # anything can be announced: what cannot be a name is no file, and what is no data is not copied
        if file.suffix.lower() in DATA and os.path.isfile(file):  # noqa: PTH113 (a Path raises for some names)
            shutil.copyfile(file, unfinished / file.name)
        elif table is not None:
            from pyarrow import parquet

            parquet.write_table(table, unfinished / "batch.parquet")
        facts = {"source": source, "reasons": list(reasons)}
        (unfinished / REASONS).write_text(json.dumps(facts, indent=2, ensure_ascii=False), encoding="utf-8")
        try:
            unfinished.rename(place)
        except OSError:
            if not place.is_dir():
                raise
            shutil.rmtree(unfinished)  # another run kept the same batch first
        return place

    def all(self, usecase: str) -> list[Quarantined]:
        """Return the batches of a use case, oldest first."""
        found = sorted((self.root / usecase).glob(f"[!.]*/{REASONS}"), key=lambda path: path.stat().st_mtime)
        return [self._read(path) for path in found]

    def _read(self, path: Path) -> Quarantined:
        facts = json.loads(path.read_text(encoding="utf-8"))
        return Quarantined(path.parent.name, path.parent, facts["source"], tuple(facts["reasons"]))
