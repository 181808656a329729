"""Collection: what cannot be stored stops nothing, kills and rivals change nothing, no row is without a window."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mlcore.capture.collect import UNREADABLE, collect
from mlcore.capture.records import hash_key, label_record, prediction_record
from mlcore.capture.segments import SegmentWriter, encode, sealed_segments
from mlcore.capture.spool import Spool
from mlcore.capture.store import Answered, CaptureStore
from mlcore.capture.windows import due_windows
from mlcore.policy.monitoring import WindowRule

ROOT = Path(__file__).parents[2]
ARRIVED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _row(contract, name: str, **values):
    at = ARRIVED.isoformat()
    row = {"customer_id": 1, "seen_at": at, "plan": "pro", "monthly_fee": 5.5, "calls": 2, **values}
    return prediction_record(
        contract,
        row,
        row_id=name,
        request_id="q",
        received_at=at,
        scored_at=at,
        model_version=1,
        prediction=True,
        probabilities=None,
        hash_key=b"key",
    )


def _spooled(folder: Path, *batches) -> None:
    spool = Spool(folder)
    for batch in batches:
        spool.append(batch)
        spool.flush()
    spool.close()


@pytest.mark.parametrize("label", ["maybe", 10**30, [1], None])
def test_what_does_not_fit_the_contract_is_set_apart(tmp_path, churn, label):
    """What nobody can store is kept beside the spool and counted; all other records get through."""
    contract = churn.contract
    bad = [label_record("a", label, ARRIVED.isoformat()) if label else _row(contract, "x", calls=10**30)]
    _spooled(tmp_path / "spool", [_row(contract, "a"), *bad, label_record("a", True, ARRIVED.isoformat())])
    store = CaptureStore(str(tmp_path / "lake"), "churn", contract)
    report = collect(tmp_path / "spool", store)
    assert (report.predictions, report.labels, report.unreadable) == (1, 1, 1)
    (kept,) = (tmp_path / "spool" / UNREADABLE).iterdir()
    assert json.loads(kept.read_text()) == bad[0]
    assert store.find("a").label is True


def test_a_torn_line_is_kept_and_counted(tmp_path, churn):
    """The half line that a kill leaves is told, not passed over in silence."""
    _spooled(tmp_path / "spool", [_row(churn.contract, "a")])
    (segment,) = sealed_segments(tmp_path / "spool")
    segment.write_bytes(segment.read_bytes() + b"00000000 {half")
    report = collect(tmp_path / "spool", CaptureStore(str(tmp_path / "lake"), "churn", churn.contract))
    assert (report.predictions, report.unreadable) == (1, 1)


def test_rows_without_a_usable_time_count_at_their_arrival(tmp_path, churn):
    """Neither a missing time nor one of the far future stops the windows or closes them early."""
    contract = churn.contract
    far = (ARRIVED + timedelta(days=3_000)).isoformat()
    rows = [_row(contract, "now"), _row(contract, "none", seen_at=None), _row(contract, "far", seen_at=far)]
    _spooled(tmp_path / "spool", rows)
    store = CaptureStore(str(tmp_path / "lake"), "churn", contract)
    collect(tmp_path / "spool", store)
    day = ARRIVED.replace(hour=0)
    assert sorted(store.read(day, day + timedelta(days=1))["row_id"]) == ["far", "none", "now"]
    rule = WindowRule(name="daily", period="day", checks=("quality",))
    assert due_windows(store.summary(), [rule], []) == []
    (window,) = due_windows(store.summary(), [rule], [], flush=True)
    assert (window.starts_at, window.rows) == (day, 3)


def test_rows_scored_twice_count_once(tmp_path, churn):
    """A batch that was resumed after a kill may have spooled rows again."""
    _spooled(tmp_path / "spool", [_row(churn.contract, "a")], [_row(churn.contract, "a"), _row(churn.contract, "b")])
    store = CaptureStore(str(tmp_path / "lake"), "churn", churn.contract)
    collect(tmp_path / "spool", store)
    assert store.read()["row_id"].tolist() == ["a", "b"]
    assert len(store.summary()) == 2


def test_what_a_model_has_answered_is_counted(tmp_path, churn):
    """Each row once, with how many have a label; a model that has answered nothing has no count."""
    rows = [_row(churn.contract, name) for name in ("a", "b", "c")]
    _spooled(tmp_path / "spool", rows, rows[:1], [label_record("b", True, ARRIVED.isoformat())])
    store = CaptureStore(str(tmp_path / "lake"), "churn", churn.contract)
    assert store.answered(1) is None
    collect(tmp_path / "spool", store)
    assert store.answered(1) == Answered(rows=3, labelled=1, last_at=ARRIVED)
    assert store.answered(2) is None


def test_late_labels_tell_their_lag(tmp_path, churn):
    """When a label came is kept beside when its row came."""
    late = label_record("a", True, (ARRIVED + timedelta(days=2)).isoformat())
    _spooled(tmp_path / "spool", [_row(churn.contract, "a"), _row(churn.contract, "b"), late])
    store = CaptureStore(str(tmp_path / "lake"), "churn", churn.contract)
    collect(tmp_path / "spool", store)
    rows = store.read()
    lag = rows["labelled_at"] - rows["received_at"]
    assert lag.tolist()[0] == timedelta(days=2)
    assert lag.isna().tolist() == [False, True]


def test_many_collections_leave_few_files(tmp_path, churn):
    """Small files, one a collection, are put together, and no row is lost by it."""
    store = CaptureStore(str(tmp_path / "lake"), "churn", churn.contract)
    for number in range(70):
        store.append({f"s{number}": [_row(churn.contract, f"r{number}")]})
    assert len(store.read()) == 70
    from deltalake import DeltaTable

    assert len(DeltaTable(str(tmp_path / "lake" / "captures" / "churn" / "predictions")).file_uris()) < 20
    store.append({"s3": [_row(churn.contract, "r3")], "s70": [_row(churn.contract, "r70")]})
    assert len(store.read()) == 71


_COLLECTOR = """
import sys
from pathlib import Path
from mlcore.capture.collect import collect
from mlcore.capture.store import Answered, CaptureStore
from mlcore.usecase import load_usecase
contract = load_usecase(Path(sys.argv[3])).contract
store = CaptureStore(sys.argv[2], "churn", contract)
print("ready", flush=True)
collect(Path(sys.argv[1]), store)
"""


def _collector(tmp_path: Path) -> subprocess.Popen[bytes]:
    paths = [str(tmp_path / "spool"), str(tmp_path / "lake"), str(ROOT / "tests" / "usecases" / "churn")]
    process = subprocess.Popen([sys.executable, "-c", _COLLECTOR, *paths], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    process.stdout.readline()
    return process


@pytest.mark.fault
def test_killed_and_rival_collectors_store_every_row_once(tmp_path, churn):
    """SIGKILL at any moment of a collection, then two at the same time: each row is there once."""
    batches = [[_row(churn.contract, f"r{batch}-{number}") for number in range(20)] for batch in range(30)]
    _spooled(tmp_path / "spool", *batches)
    for delay in (0.0, 0.01, 0.03, 0.06, 0.1):
        process = _collector(tmp_path)
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    _spooled(tmp_path / "spool", *[[_row(churn.contract, f"late-{number}")] for number in range(20)])
    rivals = [_collector(tmp_path), _collector(tmp_path)]
    for process in rivals:
        process.communicate()
    assert [process.returncode for process in rivals] == [0, 0]
    from deltalake import DeltaTable

    stored = DeltaTable(str(tmp_path / "lake" / "captures" / "churn" / "predictions")).to_pyarrow_dataset()
    assert stored.count_rows() == 30 * 20 + 20
    assert sealed_segments(tmp_path / "spool") == []


def test_a_living_writer_keeps_its_segment(tmp_path):
    """A segment is taken from a dead writer only, whatever container its process lives in."""
    writer = SegmentWriter(tmp_path)
    writer.write([encode({"n": 1})])
    assert sealed_segments(tmp_path) == []
    writer.seal()
    assert len(sealed_segments(tmp_path)) == 1


def test_steady_traffic_is_sealed_by_age(tmp_path):
    """A service that is never idle still hands its rows on."""
    spool = Spool(tmp_path, idle_seconds=60, age_seconds=0.2)
    until = time.monotonic() + 5
    while not list(tmp_path.glob("*.sealed")) and time.monotonic() < until:
        spool.append([{"n": 1}])
        time.sleep(0.02)
    assert list(tmp_path.glob("*.sealed"))
    spool.close()


def test_a_record_that_cannot_be_said_takes_no_other_with_it(tmp_path):
    """Half a surrogate pair is no UTF-8: counted, and the thread writes on."""
    spool = Spool(tmp_path)
    spool.append([{"n": "\ud800"}, {"n": 1}, {"n": {1}}])
    spool.flush()
    spool.append([{"n": 2}])
    spool.close()
    assert spool.failed == 2
    assert len(sealed_segments(tmp_path)) == 2


def test_the_key_of_hashed_columns_is_made_once(tmp_path, monkeypatch):
    """Services and batch runs of one installation hash alike; nobody else can."""
    first = Spool(tmp_path / "one")
    second = Spool(tmp_path / "two")
    assert first.hash_key == second.hash_key
    assert len(first.hash_key) == 64
    assert (tmp_path / "hash.key").stat().st_mode & 0o077 == 0
    monkeypatch.setenv("MLOPS_HASH_KEY", "given")
    assert hash_key(tmp_path) == b"given"
    first.close()
    second.close()
