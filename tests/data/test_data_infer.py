"""`init`: a draft that loads and that its own data passes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mlcore.catalogue import catalogue
from mlcore.data.infer import infer_usecase, write_usecase
from mlcore.data.ingest import read_source
from mlcore.errors import IngestError, UseCaseError
from mlcore.quality import check_table
from mlcore.usecase import load_usecase

RNG = np.random.default_rng(0)
FILES = {
    "rentals": (
        pd.DataFrame(
            {"at": pd.date_range("2025-01-01", periods=200, freq="h"), "x": RNG.normal(size=200), "y": range(200)}
        ),
        "y",
        "regression",
    ),
    "leavers": (
        pd.DataFrame(
            {"age": RNG.integers(18, 80, 100), "plan": RNG.choice(["a", "b"], 100), "left": RNG.random(100) < 0.3}
        ),
        "left",
        "classification",
    ),
    "grades": (
        pd.DataFrame(
            {
                "score": RNG.normal(size=120),
                "note": [None if i % 3 else "x" for i in range(120)],
                "grade": RNG.choice(list("ABC"), 120),
            }
        ),
        "grade",
        "classification",
    ),
    "names": (
        pd.DataFrame({"Temp (°C)": RNG.normal(size=100), "2nd Floor": RNG.integers(0, 9, 100), "Sales!": range(100)}),
        "Sales!",
        "regression",
    ),
    "traces": (
        pd.DataFrame(
            {
                "tiny": RNG.normal(size=200) * 1e-9,
                "far": 1e9 + RNG.random(200),
                "rare": [None, *range(1, 200)],
                "y": [None, *RNG.normal(size=199)],
            }
        ),
        "y",
        "regression",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_draft_loads_and_its_own_data_passes(name, tmp_path):
    """Whoever runs init can publish at once."""
    frame, target, task = FILES[name]
    source = tmp_path / "file.csv"
    frame.to_csv(source, index=False)
    draft = infer_usecase(str(source), name=name, target=target, time=None, owner="me@example.org")
    write_usecase(draft, tmp_path / name, str(source))
    usecase = load_usecase(tmp_path / name)
    assert usecase.contract.task == task
    report = check_table(read_source(str(source), usecase.contract), usecase.contract)
    assert report.passed, [check.sentence for check in report.failures]
    with pytest.raises(UseCaseError, match="already"):
        write_usecase(draft, tmp_path / name, str(source))


def test_one_missing_cell_among_many_is_allowed_for(tmp_path):
    """However small the share of missing cells is, it does not round to none."""
    source = tmp_path / "file.csv"
    frame = pd.DataFrame({"x": [1.5, *[2.5] * 49_999], "z": [None, *[1.0] * 49_999], "y": 1.25})
    frame.to_csv(source, index=False)
    draft = infer_usecase(str(source), name="many", target="y", time=None, owner="me@example.org")
    assert draft["contract"]["columns"][1]["maximum_missing_fraction"] == 0.0001


def test_a_wrong_target_is_named(tmp_path):
    """The columns that are there are listed."""
    source = tmp_path / "file.csv"
    source.write_text("a,b\n1,2\n")
    with pytest.raises(IngestError, match="a, b"):
        infer_usecase(str(source), name="x", target="c", time=None, owner="me@example.org")
    with pytest.raises(UseCaseError, match="lower case"):
        infer_usecase(str(source), name="X y", target="b", time=None, owner="me@example.org")


def test_the_catalogue_names_every_feature_once(bikeshare, churn):
    """Raw and generated features have unique names within their use case, and an owner."""
    entries = catalogue([bikeshare, churn])
    names = [(entry.usecase, entry.name) for entry in entries]
    assert len(names) == len(set(names))
    assert {"recorded_at_hour", "temperature"} <= {entry.name for entry in entries}
    assert all(entry.owner for entry in entries)


def test_columns_that_would_have_one_name_are_refused(tmp_path):
    """Two columns that differ by a sign only cannot both be in a contract."""
    path = tmp_path / "rows.csv"
    pd.DataFrame({"a b": [1, 2], "a-b": [3, 4], "y": [5, 6]}).to_csv(path, index=False)
    with pytest.raises(UseCaseError, match=r"one name.*a b, a-b"):
        infer_usecase(str(path), name="rows", target="y", time=None, owner="me@example.org")
