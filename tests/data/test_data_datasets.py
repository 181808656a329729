"""Dataset versions: identified by content, stored once, never half."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlcore.data.assemble import training_set
from mlcore.data.cleaning import clean
from mlcore.data.datasets import DatasetStore
from mlcore.data.digest import table_digest
from mlcore.data.ingest import conform
from mlcore.data.quarantine import QuarantineStore
from mlcore.errors import DatasetError
from mlcore.policy.cleaning import CleaningPolicy, OutlierRule

CELLS = st.tuples(
    st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    st.one_of(st.none(), st.text(max_size=5)),
    st.one_of(st.none(), st.integers(-(2**62), 2**62)),
)


def _table(rows):
    columns = list(zip(*rows, strict=True)) if rows else [[], [], []]
    return pa.table(
        {
            "x": pa.array(columns[0], pa.float64()),
            "s": pa.array(columns[1], pa.string()),
            "n": pa.array(columns[2], pa.int64()),
        }
    )


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(CELLS, min_size=1, max_size=20), data=st.data())
def test_order_and_chunks_do_not_matter_and_every_cell_does(rows, data):
    """The digest is a function of the schema and the multiset of rows, and of nothing else."""
    digest = table_digest(_table(rows))
    shuffled = _table(data.draw(st.permutations(rows)))
    cut = data.draw(st.integers(0, len(rows)))
    assert digest == table_digest(pa.concat_tables([shuffled.slice(0, cut), shuffled.slice(cut)]))
    number = data.draw(st.integers(0, len(rows) - 1))
    changed = [*rows]
    x, s, n = changed[number]
    changed[number] = (x, (s or "") + "!", n)
    assert digest != table_digest(_table(changed))
    assert digest != table_digest(_table([*rows, rows[0]]))


def test_types_and_names_are_part_of_the_identity():
    """The same numbers under another name or type are other data."""
    table = pa.table({"x": pa.array([1, 2])})
    others = [table.rename_columns(["y"]), table.cast(pa.schema([("x", pa.float64())]))]
    assert len({table_digest(item) for item in (table, *others)}) == 3


def test_encoding_and_zeros_do_not_matter():
    """Dictionaries, NaN for missing and the sign of zero are ways to write the same data."""
    plain = pa.table({"s": ["a", None, "a"], "x": [0.0, None, 1.0]})
    other = pa.table({"s": pa.array(["a", None, "a"]).dictionary_encode(), "x": [-0.0, float("nan"), 1.0]})
    assert table_digest(plain) == table_digest(other)


def test_neighbouring_texts_cannot_trade_letters():
    """Lengths are part of the form: ('ab', 'c') is not ('a', 'bc')."""
    first, second = pa.table({"a": ["ab"], "b": ["c"]}), pa.table({"a": ["a"], "b": ["bc"]})
    assert table_digest(first) != table_digest(second)


def test_publishing_twice_gives_the_same_version(tmp_path, bikeshare_table):
    """The same content is the same version; older versions stay as they were."""
    store = DatasetStore(str(tmp_path))
    first = store.write("bikeshare", bikeshare_table.slice(0, 500))
    second = store.write("bikeshare", bikeshare_table)
    assert store.write("bikeshare", bikeshare_table.slice(0, 500)) == first
    assert first.uri != second.uri
    assert store.read(first.uri, first.table_version).num_rows == 500
    store.verify(first)
    store.verify(second)
    assert store.read(second.uri, second.table_version, columns=["bikers"]).column_names == ["bikers"]


def test_a_version_that_is_not_there_is_an_error(tmp_path):
    """A ledger that outlived its lake says so."""
    with pytest.raises(DatasetError, match="no such dataset version"):
        DatasetStore(str(tmp_path)).read(str(tmp_path / "datasets" / "x"), 3)


def _write(root, count):
    table = pa.table({"x": pa.array(np.arange(count, dtype=float))})
    return DatasetStore(root).write("shared", table)


def test_two_processes_may_publish_at_once(tmp_path):
    """Concurrent commits are both kept, of other content and of the same."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        stored = pool.starmap(_write, [(str(tmp_path), rows) for rows in (10, 20, 30, 30, 40, 40)], chunksize=1)
    assert len({item.uri for item in stored}) == 4
    for item in stored:
        DatasetStore(str(tmp_path)).verify(item)


def _write_and_tell(root, table, started):
    started.set()
    DatasetStore(root).write("bikeshare", table)


@pytest.mark.fault
@pytest.mark.parametrize("delay", [0.0, 0.002, 0.01, 0.03, 0.1, 0.4])
def test_a_killed_publication_leaves_old_or_new(delay, tmp_path, bikeshare_table):
    """Killed at any moment of the write, the version is there whole or not at all, and can be written again."""
    store = DatasetStore(str(tmp_path))
    old = store.write("bikeshare", bikeshare_table.slice(0, 10))
    spawn = multiprocessing.get_context("spawn")
    started = spawn.Event()
    writer = spawn.Process(target=_write_and_tell, args=(str(tmp_path), bikeshare_table, started))
    writer.start()
    assert started.wait(60)
    time.sleep(delay)
    os.kill(writer.pid, signal.SIGKILL)
    writer.join()
    store.verify(old)
    new = store.write("bikeshare", bikeshare_table)
    store.verify(new)
    assert store.read(new.uri, new.table_version).num_rows == bikeshare_table.num_rows


def test_cleaning_reports_what_each_step_did(bikeshare, bikeshare_frame):
    """Steps run in the declared order, and their counts add up."""
    frame = pd.concat([bikeshare_frame.head(100), bikeshare_frame.head(3)])
    corrected = bikeshare_frame.head(1).assign(bikers=999)
    frame = pd.concat([frame, corrected], ignore_index=True)
    frame["bikers"] = frame["bikers"].astype("float")
    frame.loc[5, "bikers"] = None
    frame.loc[6, "wind_speed"] = 119.0
    policy = CleaningPolicy(outliers=(OutlierRule(column="wind_speed", whiskers=3.0, action="set_missing"),))
    result = clean(conform(frame, bikeshare.contract), bikeshare.contract, policy)
    by_name = {step.name: step for step in result.steps}
    assert by_name["exact_duplicates"].rows_before - by_name["exact_duplicates"].rows_after == 3
    assert by_name["key_duplicates"].rows_before - by_name["key_duplicates"].rows_after == 1
    assert by_name["missing_target"].rows_before - by_name["missing_target"].rows_after == 1
    assert by_name["outliers_wind_speed"].cells_changed == 1
    rows = result.table.to_pandas()
    assert 999 in rows["bikers"].to_list()
    assert rows["wind_speed"].isna().sum() == 1


def test_the_training_set_prefers_what_was_seen_later(bikeshare, bikeshare_table):
    """A labelled row replaces the published row of the same key; time orders the rest."""
    later = bikeshare_table.slice(50, 100).to_pandas().assign(bikers=7)
    joined = training_set(bikeshare_table.slice(0, 100), conform(later, bikeshare.contract), bikeshare.contract)
    assert joined.num_rows == 150
    assert joined["bikers"].to_pylist()[50:] == [7] * 100
    times = joined["recorded_at"].to_pylist()
    assert times == sorted(times)
    recent = training_set(bikeshare_table, bikeshare_table, bikeshare.contract, keep_since=times[100])
    assert min(recent["recorded_at"].to_pylist()) == times[100]


def test_rows_that_share_their_time_are_all_trained_on(bikeshare, bikeshare_table):
    """Two stations an hour are two rows, and a labelled one still replaces the one that was published."""
    frame = bikeshare_table.slice(0, 100).to_pandas()
    two = conform(pd.concat([frame, frame.assign(temperature=-1.0)]), bikeshare.contract)
    later = conform(frame.iloc[50:].assign(bikers=7), bikeshare.contract)
    joined = training_set(two, later, bikeshare.contract, keys_repeat=True)
    assert joined.num_rows == 200
    assert joined["bikers"].to_pylist().count(7) >= 50


def test_a_quarantined_batch_is_kept_whole(tmp_path):
    """The bytes that came and the reasons are there; keeping the batch again changes nothing."""
    source = tmp_path / "bad.csv"
    source.write_text("a,b\n1,2\n")
    store = QuarantineStore(tmp_path / "quarantine")
    place = store.keep("bikeshare", "b1", str(source), ["column c is missing"])
    assert store.keep("bikeshare", "b1", str(source), ["other"]) == place
    (kept,) = store.all("bikeshare")
    assert (place / "bad.csv").read_text() == source.read_text()
    assert kept.reasons == ("column c is missing",)


def test_a_lake_in_s3_keeps_versions(bucket, bikeshare, bikeshare_table):
    """The same tables, written and read through a server that speaks S3; the same content has the same place."""
    store = DatasetStore("s3://models/lake")
    written = store.write(bikeshare.name, bikeshare_table)
    assert store.write(bikeshare.name, bikeshare_table) == written
    store.verify(written)
    assert store.read(written.uri, written.table_version).equals(bikeshare_table)
