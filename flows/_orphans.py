"""What killed runs have left behind: folders, pages and half-written files that nothing in the ledger names."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mlcore.ledger.records import Bookmark, DatasetVersion, Evaluation, ModelVersion

if TYPE_CHECKING:
    from pyarrow import fs

    from flows._context import Context
    from mlcore.ledger.store import View

#: What was written to since may be of a run that is about to give it a row.
_YOUNG: Final = timedelta(days=1)
#: A search that was killed may be started again for so long.
_SEARCH_KEPT: Final = timedelta(days=30)


def collect(context: Context) -> list[str]:
    """Remove what has no row and is older than a day, once a day; on the record.

    Model folders, dataset tables and pages of evaluations, in an object store too; half-written files and half-built
    Bentos; what searches remember for a month.

    Returns
    -------
    list of str
        What was removed, in a sentence; nothing where nothing was.
    """
    now, done = context.now(), f"orphans:{context.name}"
    with context.ledger.read() as view:
        last = view.get(Bookmark, name=done)
    if last is not None and abs(now - last.at) < _YOUNG:
        return []
    folders = [*_folders(f"{context.settings.models_root}/{context.name}", now - _YOUNG)]
    folders += _folders(f"{context.settings.lake_root}/datasets/{context.name}", now - _YOUNG)
    files = [*_files(context, now)]
    with context.ledger.transaction() as tx:
        # nobody gives a row to any of it meanwhile: that takes a transaction, too
        named = _named(tx, context.name)
        removed = [path for _, path in folders if path.rpartition("/")[2] not in named]
        removed += [str(path) for path in files if path.name not in named]
        for system, path in folders:
            if path in removed:
                system.delete_dir(path)
        for file in files:
            if str(file) in removed:
                shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)
        if removed:
            tx.audit(
                usecase=context.name,
                actor="policy",
                action="orphans.collected",
                subject=f"{context.name}/orphans",
                at=now,
                removed=sorted(removed),
            )
        tx.put(Bookmark(done, now))
    return [f"removed {len(removed)} things that killed runs had left"] if removed else []


def _named(view: View, usecase: str) -> set[str]:
    """Return the names of all folders and pages that have a row."""
    uris = [item.uri for item in view.all(ModelVersion, usecase=usecase)]
    uris += [item.uri for item in view.all(DatasetVersion, usecase=usecase)]
    pages = [f"{item.id}.html" for item in view.all(Evaluation, usecase=usecase)]
    return {uri.rstrip("/").rpartition("/")[2] for uri in uris} | set(pages)


def _folders(root: str, before: datetime) -> Iterator[tuple[fs.FileSystem, str]]:
    """Yield the folders right below `root` in which nothing was written since `before`."""
    from pyarrow import fs

    system, top = fs.FileSystem.from_uri(root if "://" in root else Path(root).absolute().as_uri())
    newest: dict[str, datetime] = {}
    for info in system.get_file_info(fs.FileSelector(top, recursive=True, allow_not_found=True)):
        name, _, inside = info.path.removeprefix(top).strip("/").partition("/")
        # an object store has no folders with a time of their own
        if info.mtime is not None and (inside or info.type == fs.FileType.Directory):
            newest[name] = max(newest.get(name, info.mtime), info.mtime)
    return ((system, f"{top}/{name}") for name, at in newest.items() if at < before)


def _files(context: Context, now: datetime) -> Iterator[Path]:
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
                yield path
