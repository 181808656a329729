"""What killed runs have left is removed; what has a row, or may be about to get one, stays."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from flows import _orphans, publish
from flows._context import Context
from flows._server import Server
from flows.settings import Settings
from mlcore.data.ingest import conform
from mlcore.errors import DatasetError
from mlcore.ledger import audit
from mlcore.ledger.records import AuditEntry, Bookmark, ModelVersion
from mlcore.ledger.store import Ledger
from tests.support import churn_rows

DAYS = timedelta(days=2)


class Later(Context):
    """A run two days from now: all that is made here is old to it."""

    def now(self) -> datetime:
        """Return the time."""
        return datetime.now(UTC) + DAYS


def _context(ledger: Ledger, churn, home: Path, kind: type[Context] = Later, **settings: str) -> Context:
    return kind(Settings(home=home, **settings), churn, ledger, Server("http://127.0.0.1:9/api", attempts=1), "run")


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    """Return an empty ledger."""
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield ledger
    ledger.close()


def _model(ledger: Ledger, uri: str) -> None:
    with ledger.transaction() as tx:
        tx.add(
            ModelVersion(
                "churn", 1, "d", uri, 1, "forest", {}, 0, {}, (), "c", False, "l", "u", "dataset", "k", "run",
                datetime.now(UTC),
            )
        )  # fmt: skip


def _file(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def _published(context: Context) -> Path:
    """Publish a dataset version; return its folder."""
    rows = conform(churn_rows(200), context.usecase.contract, source="rows")
    outcome = publish.publish_table(context, rows, origin="manual", source="rows")
    with context.ledger.transaction() as tx:
        publish.save(tx, context, outcome)
    return Path(outcome.dataset.uri)


def test_what_has_no_row_goes_and_what_has_one_stays(ledger, churn, tmp_path):
    """Models, tables, pages and half-written files; once a day, on the record."""
    context = _context(ledger, churn, tmp_path)
    here = context.settings
    models = here.artifacts_root / "models" / "churn"
    kept = [_file(models / "kept" / "model.skops"), _published(context), _file(here.spool / "churn" / "1.open")]
    _model(ledger, kept[0].parent.as_uri())
    left = [
        _file(models / "left" / "model.skops").parent,
        _file(models / ".left.ab12" / "model.skops").parent,
        _file(tmp_path / "lake" / "datasets" / "churn" / "left" / "part.parquet").parent,
        _file(here.artifacts_root / "evaluations" / "churn" / "left.html"),
        _file(here.artifacts_root / "cards" / "churn" / "1.html.new"),
        _file(here.spool / "churn" / "2.new"),
        _file(here.bentos / ".building-x" / "y").parent,
    ]
    # a search that was killed two days ago may still be gone on with
    kept.append(_file(here.artifacts_root / "searches" / "churn" / "a.jsonl"))
    (sentence,) = _orphans.collect(context)
    assert sentence == f"removed {len(left)} things that killed runs had left"
    assert [path for path in left if path.exists()] == []
    assert [path for path in kept if not path.exists()] == []
    with ledger.read() as view:
        entry = view.first(AuditEntry, action="orphans.collected")
    assert sorted(Path(path).name for path in entry.facts["removed"]) == sorted(path.name for path in left)
    audit.verify(ledger)
    _file(models / "more" / "model.skops")
    assert _orphans.collect(context) == []


def test_what_is_young_is_left_alone(ledger, churn, tmp_path):
    """A run that is about to register its model loses nothing, however old the folder's other files are."""
    context = _context(ledger, churn, tmp_path, Context)
    old = _file(context.settings.artifacts_root / "models" / "churn" / "new" / "baseline.bin")
    os.utime(old, (0, 0))
    young = _file(old.parent / "model.skops")
    assert _orphans.collect(context) == []
    assert young.exists()
    assert old.exists()


def test_what_cannot_be_removed_is_told_and_the_rest_goes(ledger, churn, tmp_path, monkeypatch):
    """One stuck file keeps nothing else from going, on the record, nor `maintain` from its work."""
    context = _context(ledger, churn, tmp_path)
    models = context.settings.artifacts_root / "models" / "churn"
    gone = [_file(models / name / "model.skops").parent for name in ("a", "b")]
    stuck = _file(context.settings.spool / "churn" / "1.new")
    unlink = Path.unlink

    def refusing(path: Path, **arguments: bool) -> None:
        if path == stuck:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        unlink(path, **arguments)

    monkeypatch.setattr(Path, "unlink", refusing)
    told = _orphans.collect(context)
    assert told == [
        "removed 2 things that killed runs had left",
        f"{stuck} cannot be removed: Operation not permitted",
    ]
    assert not any(path.exists() for path in gone)
    with ledger.read() as view:
        assert len(view.first(AuditEntry, action="orphans.collected").facts["removed"]) == 2
    assert _orphans.collect(context) == []


def test_many_are_removed_a_few_at_a_time(ledger, churn, tmp_path):
    """The ledger is not held for long; the next run goes on."""
    context = _context(ledger, churn, tmp_path)
    for number in range(25):
        _file(context.settings.artifacts_root / "models" / "churn" / str(number) / "model.skops")
    assert _orphans.collect(context) == ["removed 20 things that killed runs had left"]
    assert _orphans.collect(context) == ["removed 5 things that killed runs had left"]
    assert _orphans.collect(context) == []


def test_a_store_that_does_not_answer_is_told(ledger, churn, tmp_path, monkeypatch):
    """And looked at the next time."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    (told,) = _orphans.collect(_context(ledger, churn, tmp_path, artifacts="s3://models/store"))
    assert told.startswith("what killed runs have left cannot be looked at: ")
    with ledger.read() as view:
        assert view.get(Bookmark, name="orphans:churn") is None


def test_a_clock_set_back_does_not_keep_it_from_looking(ledger, churn, tmp_path):
    """The last look was in two days' time: it is done now."""
    _orphans.collect(_context(ledger, churn, tmp_path))
    _orphans.collect(_context(ledger, churn, tmp_path, Context))
    with ledger.read() as view:
        assert view.get(Bookmark, name="orphans:churn").at < datetime.now(UTC) + timedelta(hours=1)


def test_a_table_collected_before_it_gets_its_row_is_one_clear_error(ledger, churn, tmp_path):
    """The same content, left by a dead run, is found again and removed meanwhile: no version without data."""
    context = _context(ledger, churn, tmp_path)
    rows: pa.Table = conform(churn_rows(200), churn.contract, source="rows")
    outcome = publish.publish_table(context, rows, origin="manual", source="rows")
    assert _orphans.collect(context)
    with pytest.raises(DatasetError, match="Publish it again"), ledger.transaction() as tx:
        publish.save(tx, context, outcome)
    assert _published(context).exists()


def test_an_object_store_is_looked_at_too(ledger, churn, tmp_path, bucket):
    """Objects below a model's prefix; those of a registered one stay."""
    from pyarrow import fs

    context = _context(ledger, churn, tmp_path, artifacts="s3://models/store", lake="s3://models/lake")
    store, _ = fs.FileSystem.from_uri("s3://models")
    write: Callable[[str], None] = lambda path: store.open_output_stream(path).close()  # noqa: E731
    for path in ("store/models/churn/left/a", "store/models/churn/kept/a", "lake/datasets/churn/left/b/c"):
        write(f"models/{path}")
    _model(ledger, "s3://models/store/models/churn/kept")
    assert _orphans.collect(context) == ["removed 2 things that killed runs had left"]
    names = [info.path for info in store.get_file_info(fs.FileSelector("models", recursive=True)) if info.is_file]
    assert names == ["models/store/models/churn/kept/a"]
