"""Own functions from the use case's folder: found by digest, checked, and never in a model's file."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from mlcore.catalogue import catalogue
from mlcore.errors import MLOpsError, OwnCodeError, UseCaseError
from mlcore.modelstore import ModelMetadata, load_model, save_model
from mlcore.reproduction import reproduce
from mlcore.training.pipeline import model_features
from mlcore.training.provenance import provenance
from mlcore.training.run import golden_rows, train_model
from mlcore.usecase import UseCase, load_usecase, parse_usecase
from tests.training.conftest import churn_definition

GOOD = """
import numpy as np

def comfort(columns):
    known = np.array([plan is not None for plan in columns["plan"]])
    return np.where(known, np.log1p(columns["spend"]) - columns["age"] / 10, np.nan)
"""
STEP = {"kind": "own", "columns": ["spend", "age", "plan"], "function": "comfort"}


def write(folder: Path, source: str | None = GOOD) -> Path:
    """Write the churn use case with one own feature and this code."""
    folder = folder / "churn"
    folder.mkdir(exist_ok=True)
    (folder / "usecase.yaml").write_text(yaml.safe_dump(churn_definition(features=[STEP])))
    if source is not None:
        (folder / "features.py").write_text(source)
    return folder


@pytest.fixture()
def usecase(tmp_path: Path) -> UseCase:
    """The use case with good code."""
    return load_usecase(write(tmp_path))


def test_an_own_feature_is_computed_and_named(usecase: UseCase, customers: pd.DataFrame) -> None:
    """It is one more feature, after the others, and in the catalogue."""
    features = model_features(usecase).fit(customers)
    assert features.get_feature_names_out()[-1] == "comfort"
    expected = np.log1p(customers["spend"]) - customers["age"] / 10
    assert np.allclose(features.transform(customers)[:, -1], expected, equal_nan=True)
    assert np.isnan(features.transform(customers.assign(plan=None))[:, -1]).all()
    assert [item.description for item in catalogue([usecase]) if item.name == "comfort"] == ["own of spend, age, plan"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("columns['spend'] - columns['spend'].mean()", "not row-wise"),
        ("np.random.default_rng().random(len(columns['spend']))", "not row-wise"),
        ("columns['spend'].argsort()", "not row-wise"),
        ("np.append(columns['spend'], 1)", "one number a row"),
        ("columns['spend'].mean()", "one number a row"),
        ("columns['plan']", "could not convert"),
        ("columns['price']", "KeyError: 'price'"),
        ("columns['spend'].sort()", "read-only"),
    ],
)
def test_what_is_not_one_number_a_row_is_refused(tmp_path: Path, customers: pd.DataFrame, body: str, told: str) -> None:
    """A function that looks at other rows, fails, or changes its columns is told when a model is fitted."""
    usecase = load_usecase(write(tmp_path, f"import numpy as np\ndef comfort(columns):\n    return {body}\n"))
    with pytest.raises(OwnCodeError, match=told):
        train_model(customers, usecase, seed=0)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (None, r"a file features\.py"),
        ("def comfort(columns:\n", "not Python"),
        ("def other(columns):\n    return columns\n", "of other, got comfort"),
    ],
)
def test_code_that_is_not_there_is_told_when_the_use_case_is_loaded(
    tmp_path: Path, source: str | None, told: str
) -> None:
    """A missing file, a broken one and a missing function are refused with their names."""
    with pytest.raises(MLOpsError, match=told):
        load_usecase(write(tmp_path, source))


def test_loading_a_use_case_executes_nothing(tmp_path: Path, customers: pd.DataFrame) -> None:
    """Code runs when features are computed, and its failure then is one sentence."""
    usecase = load_usecase(write(tmp_path, "1 / 0\ndef comfort(columns):\n    return columns['age']\n"))
    with pytest.raises(OwnCodeError, match="ZeroDivisionError"):
        model_features(usecase).fit(customers)


def test_a_use_case_without_a_folder_has_no_own_functions() -> None:
    """What was not loaded from a folder cannot be trained, and says so; a function's name is required."""
    with pytest.raises(UseCaseError, match="load_usecase"):
        model_features(parse_usecase(churn_definition(features=[STEP]), source="x"))
    with pytest.raises(UseCaseError, match="a function"):
        parse_usecase(churn_definition(features=[{"kind": "own", "columns": ["age"]}]), source="x")


def test_other_code_is_another_definition(tmp_path: Path) -> None:
    """The digest of the use case covers what its functions do."""
    one = load_usecase(write(tmp_path)).digest
    assert load_usecase(write(tmp_path, GOOD.replace("/ 10", "/ 11"))).digest != one
    again = load_usecase(write(tmp_path))
    assert again.digest == one
    # where a definition goes, in a model's file or to another machine, the digest of its code goes
    sent = parse_usecase(again.model_dump(mode="json"), source="sent")
    assert sent == again
    assert model_features(sent).steps[0]["code"] == again.training.features[0].code
    with pytest.raises(UseCaseError, match="and only there"):
        parse_usecase(churn_definition(features=[{**STEP, "kind": "product", "columns": ["age", "spend"]}]), source="x")


ANSWER = """
import sys
import pandas as pd
from pathlib import Path
from mlcore.errors import OwnCodeError
from mlcore.modelstore import load_model
from mlcore.usecase import load_usecase
folder, uri, digest, rows = sys.argv[1:]
if folder:
    load_usecase(Path(folder))
model = load_model(uri, digest)
try:
    print(repr(model.predict_proba(pd.read_parquet(rows))[:, 1].tolist()))
except OwnCodeError as error:
    print(error)
"""


def test_a_model_gets_the_code_it_was_trained_with_or_refuses(
    usecase: UseCase, customers: pd.DataFrame, tmp_path: Path
) -> None:
    """In another process: without the use case, with it, with changed code, and with the earlier code kept beside."""
    trained = train_model(customers, usecase, seed=0)
    assert "comfort" in {importance.feature for importance in trained.importance}
    metadata = ModelMetadata(trained.algorithm, trained.estimator, {}, 0, trained.metric, {}, 1, 1)
    saved = save_model(trained, tmp_path / "models", usecase, metadata, golden_rows(customers, usecase))
    rows, folder = tmp_path / "rows.parquet", tmp_path / "churn"
    customers.head(9).to_parquet(rows)

    def ask(known: str) -> str:
        command = [sys.executable, "-c", ANSWER, known, saved.uri, saved.digest, str(rows)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    answers = repr(load_model(saved.uri, saved.digest).predict_proba(customers.head(9))[:, 1].tolist())
    assert "is not there" in ask("")
    assert ask(str(folder)) == answers
    (folder / "features_before.py").write_text(GOOD)
    write(tmp_path, GOOD + "# changed\n")
    assert ask(str(folder)) == answers
    load_usecase(folder)
    loaded = load_model(saved.uri, saved.digest)
    assert reproduce(loaded, customers, provenance(tmp_path)).is_same
    (folder / "features_before.py").unlink()
    assert "is not there" in ask(str(folder))
    (archive,) = (tmp_path / "models").rglob("model.skops")
    with zipfile.ZipFile(archive) as parts:
        kept = b"".join(parts.read(name) for name in parts.namelist())
    assert b"comfort" in kept
    assert b"log1p" not in kept
