"""What killed runs have left behind: folders, pages and half-written files that nothing in the ledger names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlcore.errors import os_reason
from mlcore.ledger.records import Bookmark, DatasetVersion, Evaluation, ModelVersion

if TYPE_CHECKING:
    from pyarrow import fs

    from flows._context import Context
    from mlcore.ledger.store import View

#: What was written to since may be of a run that is about to give it a row.
_YOUNG: Final = timedelta(days=1)
#: A search that was killed may be started again for so long.
_SEARCH_KEPT: Final = timedelta(days=30)
#: Nobody else writes to the ledger meanwhile; what is more waits for the next run.
_AT_ONCE: Final = 20


def collect(context: Context) -> list[str]:
    """Remove what has no row and is older than a day, once a day; on the record.

    Model folders, dataset tables and pages of evaluations, in an object store too; half-written files and half-built
    Bentos; what searches remember for a month.

    Returns
    -------
    list of str
        What was removed, in a sentence, and what could not be; nothing where nothing was there.
    """
    now, done = context.now(), f"orphans:{context.name}"
    with context.ledger.read() as view:
        last = view.get(Bookmark, name=done)
    if last is not None and abs(now - last.at) < _YOUNG:
        return []
    try:
        left = [*_left(context, now)]
    except OSError as error:
        return [f"what killed runs have left cannot be looked at: {os_reason(error)}"]
    removed, stuck = [], []
    with context.ledger.transaction() as tx:
        # nobody gives a row to any of it meanwhile: that takes a transaction, too
        named = _named(tx, context.name)
        orphans = [item for item in left if item.name not in named]
        for item in orphans[:_AT_ONCE]:
            try:
                item.remove()
            except OSError as error:
                stuck.append(f"{item.path} cannot be removed: {os_reason(error)}")
            else:
                removed.append(item.path)
        if removed:
            tx.audit(
                usecase=context.name,
                actor="policy",
                action="orphans.collected",
                subject=f"{context.name}/orphans",
                at=now,
                removed=sorted(removed),
            )
        if len(orphans) <= _AT_ONCE:
            tx.put(Bookmark(done, now))
    return [*([f"removed {len(removed)} things that killed runs had left"] if removed else []), *stuck]


@dataclass(frozen=True, slots=True)
class _Left:
    """Something that may be an orphan: a folder of a store, or a file or folder on the disk."""

    path: str
    system: fs.FileSystem | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def remove(self) -> None:
        if self.system is not None:
            self.system.delete_dir(self.path)
        elif Path(self.path).is_dir():
            shutil.rmtree(self.path)
        else:
            Path(self.path).unlink(missing_ok=True)


def _left(context: Context, now: datetime) -> Iterator[_Left]:
    """Yield everything that is old enough, whether it has a row or not."""
    yield from _folders(f"{context.settings.models_root}/{context.name}", now - _YOUNG)
    yield from _folders(f"{context.settings.lake_root}/datasets/{context.name}", now - _YOUNG)
    yield from _files(context, now)


def _named(view: View, usecase: str) -> set[str]:
    """Return the names of all folders and pages that have a row."""
    uris = [item.uri for item in view.all(ModelVersion, usecase=usecase)]
    uris += [item.uri for item in view.all(DatasetVersion, usecase=usecase)]
    pages = [f"{item.id}.html" for item in view.all(Evaluation, usecase=usecase)]
    return {uri.rstrip("/").rpartition("/")[2] for uri in uris} | set(pages)


def _folders(root: str, before: datetime) -> Iterator[_Left]:
    """Yield the folders right below `root` in which nothing was written since `before`."""
    from pyarrow import fs

    system, top = fs.FileSystem.from_uri(root if "://" in root else Path(root).absolute().as_uri())
    newest: dict[str, datetime] = {}
    for info in system.get_file_info(fs.FileSelector(top, recursive=True, allow_not_found=True)):
        name, _, inside = info.path.removeprefix(top).strip("/").partition("/")
        # an object store has no folders with a time of their own
        if info.mtime is not None and (inside or info.type == fs.FileType.Directory):
            newest[name] = max(newest.get(name, info.mtime), info.mtime)
    return (_Left(f"{top}/{name}", system) for name, at in newest.items() if at < before)


def _files(context: Context, now: datetime) -> Iterator[_Left]:
    """Yield files and folders on this machine's disk that are half-written, or a page, and old."""
    artifacts, name = context.settings.artifacts_root, context.name
    for kept, folder, pattern in (
        (_YOUNG, artifacts / "evaluations" / name, "*.html"),
        (_YOUNG, artifacts, "**/*.new"),
        (_YOUNG, context.settings.spool / name, "*.new"),
        (_YOUNG, context.settings.bentos, ".building-*"),
        (_SEARCH_KEPT, artifacts / "searches" / name, "*.jsonl"),
    ):
        for path in folder.glob(pattern):
            try:
                written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            except FileNotFoundError:
                continue  # somebody has just finished it
            if written < now - kept:
                yield _Left(str(path))
