"""Capture: nothing that was written is lost, nothing is taken twice, windows close when they are over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from mlcore.capture.collect import collect
from mlcore.capture.records import label_record, prediction_record
from mlcore.capture.segments import SegmentWriter, encode, load_segment, read_segment, sealed_segments
from mlcore.capture.spool import Spool
from mlcore.capture.store import CaptureStore
from mlcore.capture.windows import due_windows, period_end, period_start
from mlcore.policy.monitoring import WindowRule

START = datetime(2026, 3, 1, tzinfo=UTC)


def _prediction(contract, number: int, **row):
    at = (START + timedelta(hours=number)).isoformat()
    values = {"customer_id": number, "seen_at": at, "plan": "pro", "monthly_fee": 5.5, "calls": 2, **row}
    return prediction_record(
        contract,
        values,
        row_id=f"r{number}",
        request_id="q",
        received_at=at,
        scored_at=at,
        model_version=1,
        prediction=bool(number % 2),
        probabilities=[0.4, 0.6],
        hash_key=b"key",
    )


def _collected(tmp_path, contract, records):
    spool = Spool(tmp_path / "spool")
    spool.append(records)
    spool.close()
    store = CaptureStore(str(tmp_path / "lake"), "churn", contract)
    return store, collect(tmp_path / "spool", store)


def test_what_json_has_no_word_for_is_kept(tmp_path):
    """Numbers that are not finite, that are very long, and any text come back as they were."""
    given = [
        {"x": [1.5, float("inf"), None]},
        {"x": {"y": -float("inf")}},
        {"x": 10**30, "y": 0.1},
        {"x": "naïve \u2028"},
    ]
    writer = SegmentWriter(tmp_path)
    writer.write([encode(record) for record in given])
    writer.seal()
    (segment,) = sealed_segments(tmp_path)
    assert load_segment(segment).records == given
    for wrong in ({"x": object()}, {"x": "\ud800"}):
        with pytest.raises((TypeError, ValueError)):
            encode(wrong)


def test_rows_and_labels_are_joined(tmp_path, churn):
    """Late labels find their row, the newest one stands, coverage can be seen."""
    records = [_prediction(churn.contract, number) for number in range(5)]
    records += [label_record("r1", False, START.isoformat())]
    records += [label_record("r1", True, (START + timedelta(days=1)).isoformat())]
    store, report = _collected(tmp_path, churn.contract, records)
    assert (report.predictions, report.labels) == (5, 2)
    rows = store.read()
    assert rows["row_id"].tolist() == ["r0", "r1", "r2", "r3", "r4"]
    assert rows["left"].tolist()[1] is True
    assert rows["left"].isna().sum() == 4
    assert store.summary()["labelled"].sum() == 1
    assert len(store.read(START + timedelta(hours=1), START + timedelta(hours=3))) == 2
    found = store.find("r1")
    assert (found.prediction, found.label, found.model_version) == (True, True, 1)
    assert store.find("r9") is None


def test_columns_are_hashed_or_left_out_as_the_contract_says(tmp_path, churn):
    """The key is kept as a keyed hash: equal stays equal, and the number is not there."""
    columns = tuple(
        column.model_copy(update={"capture": "omit"}) if column.name == "calls" else column
        for column in churn.contract.columns
    )
    contract = churn.contract.model_copy(update={"columns": columns})
    contract.__dict__.pop("inputs", None)
    store, _ = _collected(tmp_path, contract, [_prediction(contract, 1), _prediction(contract, 2, customer_id=1)])
    rows = store.read()
    assert "calls" not in rows
    assert rows["customer_id"].nunique() == 1
    assert len(rows["customer_id"][0]) == 32


def test_a_segment_is_taken_once(tmp_path, churn):
    """Killed between the commit and the removal of the file, the next collection adds nothing."""
    spool = Spool(tmp_path / "spool")
    spool.append([_prediction(churn.contract, number) for number in range(3)])
    spool.close()
    (segment,) = sealed_segments(tmp_path / "spool")
    content = segment.read_bytes()
    store = CaptureStore(str(tmp_path / "lake"), "churn", churn.contract)
    collect(tmp_path / "spool", store)
    segment.write_bytes(content)
    collect(tmp_path / "spool", store)
    assert len(store.read()) == 3
    assert sealed_segments(tmp_path / "spool") == []


def test_erasing_is_for_good(tmp_path, churn):
    """Erased rows are in no file any more, old ones are forgotten by age."""
    store, _ = _collected(tmp_path, churn.contract, [_prediction(churn.contract, number) for number in range(6)])
    assert store.erase(["r1", "x'; --"]) == 1
    assert store.forget_before(START + timedelta(hours=4)) == 3
    assert store.read()["row_id"].tolist() == ["r4", "r5"]
    kept = b"".join(path.read_bytes() for path in (tmp_path / "lake").rglob("*.parquet"))
    assert b"r1" not in kept


_WRITER = """
import sys, time
from pathlib import Path
from mlcore.capture.spool import Spool
spool = Spool(Path(sys.argv[1]), on_sealed=lambda name: print(name, flush=True))
for number in range(150_000):
    spool.append([{"kind": "prediction", "n": number}])
time.sleep(600)
"""


@pytest.mark.fault
def test_what_was_written_survives_a_kill(tmp_path):
    """SIGKILL in the middle of writing: a gapless beginning is read back, a torn end is passed over."""
    process = subprocess.Popen([sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline(), "no segment was ever sealed"
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    segments = sealed_segments(tmp_path)
    numbers = [record["n"] for segment in segments for record in read_segment(segment)]
    assert numbers
    assert numbers == list(range(len(numbers)))


def test_a_torn_or_changed_line_is_passed_over(tmp_path):
    """Whole records before and after it are read."""
    spool = Spool(tmp_path)
    spool.append([{"n": number} for number in range(3)])
    spool.close()
    (segment,) = sealed_segments(tmp_path)
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(lines[0] + lines[1].replace(b"1", b"7") + lines[2] + b'00000000 {"n"')
    assert [record["n"] for record in read_segment(segment)] == [0, 2]


def test_a_full_queue_drops_and_counts_and_never_waits(tmp_path):
    """A request does not wait for a disk; what is not kept is counted."""
    spool = Spool(tmp_path, capacity=10)
    spool.append([{"n": number} for number in range(11)])  # they never fit: who waited for room would wait for ever
    assert spool.dropped == 11
    spool.close()


def test_a_folder_that_is_gone_is_counted_not_raised(tmp_path):
    """A disk that fails does not stop a service."""
    folder = tmp_path / "spool"
    spool = Spool(folder)
    folder.rmdir()
    spool.append([{"n": 1}])
    spool.flush()
    assert spool.failed == 1
    spool.close()


RULES = (
    WindowRule(name="daily", period="day", checks=("quality",)),
    WindowRule(name="monthly", period="month", checks=("performance",), label_wait=timedelta(days=3)),
)


def _rows(*stamps: str, labelled: bool = False) -> pd.DataFrame:
    return pd.DataFrame({"at": pd.to_datetime(list(stamps), utc=True), "labelled": labelled})


@pytest.mark.parametrize(
    ("rows", "closed", "due"),
    [
        (_rows("2026-03-01T05:00"), [], []),
        (_rows("2026-03-01T05:00", "2026-03-02T00:00"), [], ["daily 2026-03-01"]),
        (_rows("2026-03-01T05:00", "2026-03-02T00:00"), [("daily", START)], []),
        (_rows("2026-03-01T05:00", "2026-04-02T00:00"), [("daily", START)], []),
        (_rows("2026-03-01T05:00", "2026-04-02T00:00", labelled=True), [("daily", START)], ["monthly 2026-03-01"]),
        (_rows("2026-03-01T05:00", "2026-04-04T00:00"), [("daily", START)], ["monthly 2026-03-01"]),
        (_rows(), [], []),
    ],
)
def test_windows_close_when_the_data_says_so(rows, closed, due):
    """A row from beyond the end closes a window; one that needs labels waits for them, in the data's own time."""
    found = due_windows(rows, RULES, closed)
    assert [f"{window.cadence} {window.starts_at:%Y-%m-%d}" for window in found] == due


def test_flush_closes_what_has_begun():
    """People, and the end of a replay, need not wait."""
    assert len(due_windows(_rows("2026-03-01T05:00"), RULES, [], flush=True)) == 2


@pytest.mark.parametrize("period", ["hour", "day", "week", "month"])
def test_periods_follow_each_other_without_gap(period):
    """The end of a period is the start of the next, over leap days and year ends."""
    at = datetime(2027, 12, 30, 23, 59, tzinfo=UTC)
    for _ in range(70):
        start = period_start(at, period)
        end = period_end(start, period)
        assert start <= at < end
        assert period_start(end, period) == end
        at = end
