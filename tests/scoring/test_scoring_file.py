"""Batch scoring: the answers of the service, captured once, whatever is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from bentos.schema import frame_of
from mlcore.capture.collect import collect
from mlcore.capture.spool import Spool
from mlcore.capture.store import CaptureStore
from mlcore.errors import ContractError, IngestError
from mlcore.modelstore import LoadedModel, ModelMetadata, load_model, save_model
from mlcore.scoring import score_file
from mlcore.training.provenance import Provenance
from mlcore.training.run import golden_rows, train_model
from mlcore.usecase import parse_usecase
from tests.support import churn_rows

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory, churn) -> LoadedModel:
    """A small classifier, saved and loaded."""
    frame = churn_rows(300)
    trained = train_model(frame, churn, seed=1)
    facts = ModelMetadata.of(trained, Provenance("", False, "", {}))
    bundle = save_model(trained, tmp_path_factory.mktemp("models"), churn, facts, golden_rows(frame, churn))
    return load_model(bundle.uri, bundle.digest)


@pytest.fixture
def source(tmp_path) -> Path:
    """A thousand rows with a column of somebody else."""
    path = tmp_path / "rows.parquet"
    churn_rows(1_000, seed=3).assign(invoice=range(1_000)).to_parquet(path)
    return path


def test_a_file_gets_the_services_answers(model, source, tmp_path):
    """Part by part, in order, other columns carried along, and captured as they were answered."""
    spool = Spool(tmp_path / "spool" / "churn")
    report = score_file(model, str(source), tmp_path / "out.parquet", model_version=4, spool=spool, batch_rows=300)
    spool.close()
    assert (report.rows, report.parts, report.resumed_parts) == (1_000, 4, 0)
    scored = pd.read_parquet(tmp_path / "out.parquet")
    rows = churn_rows(1_000, seed=3)
    one_by_one = frame_of(rows[[column.name for column in model.contract.inputs]].to_dict("records"), model.contract)
    assert scored["prediction"].tolist() == model.output(one_by_one).values.tolist()
    assert scored["invoice"].tolist() == list(range(1_000))
    assert set(scored["model_version"]) == {4}
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    store = CaptureStore(str(tmp_path / "lake"), "churn", model.contract)
    assert collect(tmp_path / "spool" / "churn", store).predictions == 1_000
    captured = store.read().set_index("row_id").loc[scored["row_id"]]
    assert captured["prediction"].tolist() == scored["prediction"].tolist()
    assert captured["monthly_fee"].tolist() == rows["monthly_fee"].tolist()


def test_csv_has_the_same_answers(model, source, tmp_path):
    """A CSV's cells become the contract's types, late rows as the first ones."""
    rows = pd.read_parquet(source)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    score_file(model, str(tmp_path / "rows.csv"), tmp_path / "a.parquet", model_version=1)
    score_file(model, str(source), tmp_path / "b.parquet", model_version=1)
    first, second = (pd.read_parquet(tmp_path / name)["prediction"].tolist() for name in ("a.parquet", "b.parquet"))
    assert first == second


def test_parts_see_the_rows_of_earlier_parts(churn, source, tmp_path):
    """A model that looks back answers a file in the order of time the same, however small its parts are."""
    steps = [
        {"kind": "lag", "columns": ["calls", "plan"], "after": "PT30M"},
        {
            "kind": "rolling",
            "columns": ["monthly_fee"],
            "window": "PT36H",
            "by": ["plan"],
            "statistics": ["mean", "max"],
        },
    ]
    data = churn.model_dump(mode="json")
    usecase = parse_usecase({**data, "training": {**data["training"], "features": steps}}, source="churn")
    frame = churn_rows(300, start="2025-12-01")
    frame["left"] = frame["calls"].shift(1, fill_value=0) > 2
    trained = train_model(frame, usecase, seed=1)
    facts = ModelMetadata.of(trained, Provenance("", False, "", {}))
    bundle = save_model(trained, tmp_path / "models", usecase, facts, golden_rows(frame, usecase))
    model = load_model(bundle.uri, bundle.digest)
    inputs = pd.read_parquet(source)[[column.name for column in usecase.contract.inputs]]
    whole = model.predict(inputs).tolist()
    assert whole != np.concatenate([model.predict(inputs[k : k + 30]) for k in range(0, 1_000, 30)]).tolist()
    for batch_rows in (30, 1_000):
        score_file(model, str(source), tmp_path / "out.parquet", model_version=1, batch_rows=batch_rows)
        assert pd.read_parquet(tmp_path / "out.parquet")["prediction"].tolist() == whole


def test_bad_files_are_told(model, source, tmp_path):
    """Missing, empty, foreign, with taken names or wrong values: each has its sentence, and no file appears."""
    rows = pd.read_parquet(source)
    cases = [
        (rows.drop(columns="calls"), IngestError, "calls"),
        (rows.assign(prediction=1), IngestError, "other names"),
        (rows.astype({"calls": object}).assign(calls="many"), ContractError, "calls"),
        (rows.head(0), IngestError, "empty"),
    ]
    for frame, kind, told in cases:
        path = tmp_path / "bad.parquet"
        frame.to_parquet(path)
        with pytest.raises(kind, match=told):
            score_file(model, str(path), tmp_path / "out.parquet", model_version=1)
    (tmp_path / "text.parquet").write_text("no table")
    for name in ("text.parquet", "nothing.parquet", "rows.xlsx"):
        with pytest.raises(IngestError):
            score_file(model, str(tmp_path / name), tmp_path / "out.parquet", model_version=1)
    assert not (tmp_path / "out.parquet").exists()


_SCORER = """
import sys
from pathlib import Path
from mlcore.capture.spool import Spool
from mlcore.modelstore import load_model
from mlcore.scoring import score_file
model = load_model(sys.argv[1], sys.argv[2])
spool = Spool(Path(sys.argv[4]) / "spool" / "churn")
print("ready", flush=True)
report = score_file(model, sys.argv[3], Path(sys.argv[4]) / "out.parquet", model_version=1, spool=spool, batch_rows=50)
print(report.resumed_parts)
"""


@pytest.mark.fault
def test_a_killed_run_goes_on_and_counts_each_row_once(model, source, tmp_path):
    """SIGKILL in the middle, then again: parts are kept, no row is captured twice, the file is whole."""
    command = [sys.executable, "-c", _SCORER, model.uri, model.digest, str(source), str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    process.stdout.readline()
    parts = tmp_path / ".out.parquet.parts"
    until = time.monotonic() + 20
    while len(list(parts.glob("*.parquet"))) < 3 and time.monotonic() < until:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "out.parquet").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout.split()[-1]) >= 3
    assert parquet.read_table(tmp_path / "out.parquet").num_rows == 1_000
    store = CaptureStore(str(tmp_path / "lake"), "churn", model.contract)
    collect(tmp_path / "spool" / "churn", store)
    assert len(store.read()) == 1_000


def test_another_file_or_model_starts_anew(model, source, tmp_path):
    """Parts of another work are not taken for this one's."""
    parts = tmp_path / ".out.parquet.parts"
    parts.mkdir()
    parquet.write_table(pa.table({"x": [1]}), parts / "000000.parquet")
    (parts / "work.json").write_text('{"source": ["elsewhere", 1, 1], "request": "r"}')
    report = score_file(model, str(source), tmp_path / "out.parquet", model_version=1)
    assert (report.rows, report.resumed_parts) == (1_000, 0)
