"""Reading usecase.yaml: what is right loads, what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from mlcore.errors import UseCaseError
from mlcore.usecase import list_usecases, load_usecase, parse_usecase

ROOT = Path(__file__).parent.parent.parent
GOOD = yaml.safe_load((ROOT / "usecases" / "bikeshare" / "usecase.yaml").read_text())


def _changed(path: str, value: object) -> dict:
    data = yaml.safe_load(yaml.safe_dump(GOOD))
    *parents, last = path.split(".")
    at = data
    for key in parents:
        at = at[int(key)] if key.isdigit() else at[key]
    at[last] = value
    return data


@pytest.mark.parametrize("name", list_usecases(ROOT / "usecases"))
def test_every_use_case_of_the_repository_loads(name):
    """A use case that ships must load."""
    assert load_usecase(ROOT / "usecases" / name).name == name


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        ("trainning", {}, "trainning: unknown key"),
        ("training.candidates.0.estimater", "x", "estimater: unknown key"),
        ("owner.email", "nobody", "owner.email"),
        ("contract.columns.4.minimum", 99, "minimum 99.0 is above maximum 45.0"),
        ("contract.columns.4.type", "float", "contract.columns.4.type"),
        ("contract.columns.8.role", "feature", "columns of role 'target'"),
        ("approval.approvers", [], "approvers must name at least one person"),
        ("validation.confidence", 1.5, "validation.confidence"),
        ("retraining.cooldown", "soon", "retraining.cooldown"),
        ("format", 2, "format"),
        ("validation.slices.0.column", "workday", "workday"),
        ("validation.invariances", [{"column": "holiday", "change": 1, "prediction": "same"}], "no number that could"),
        ("validation.fairness", [{"column": "holiday"}], "for classification only"),
        ("training.exclude", ["humidty"], "humidty"),
        ("training.features.3.columns", ["temperature", "humidty"], "training.features: polynomial"),
        ("training.features.3.columns", ["bikers"], "a feature or the time column, not the target"),
        ("training.features", GOOD["training"]["features"][:1] * 2, "two features have one name"),
        ("training.features.0.parts", [], "at least one of parts"),
        ("training.candidates.1.name", "gradient_boosting", "a name of its own, not twice gradient_boosting"),
        ("training.candidates.0.name", "dummy", "the name 'dummy' is the baseline's"),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(path, value, told):
    """The error names the file, the key and what was expected."""
    with pytest.raises(UseCaseError) as caught:
        parse_usecase(_changed(path, value), source="usecase.yaml")
    assert "usecase.yaml" in str(caught.value)
    assert told in str(caught.value)


def test_a_missing_folder_names_the_use_cases_there_are(tmp_path):
    """Whoever mistypes a name sees the right ones."""
    with pytest.raises(UseCaseError, match="bikeshare"):
        load_usecase(ROOT / "usecases" / "bikshare")


def test_a_half_written_file_names_the_line(tmp_path):
    """YAML that stops half way is an error with a line number."""
    folder = tmp_path / "half"
    folder.mkdir()
    (folder / "usecase.yaml").write_text("format: 1\nowner: {name: x\ntitle: y\n")
    with pytest.raises(UseCaseError, match=r"usecase\.yaml:\d"):
        load_usecase(folder)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just text"])
def test_yaml_that_is_no_mapping_is_refused(tmp_path, text):
    """Any YAML but a mapping is refused without a traceback of pydantic."""
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "usecase.yaml").write_text(text)
    with pytest.raises(UseCaseError):
        load_usecase(folder)


def test_name_and_folder_must_agree(tmp_path):
    """A copied folder is not silently another use case."""
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "usecase.yaml").write_text(yaml.safe_dump(GOOD))
    with pytest.raises(UseCaseError, match="name and folder differ"):
        load_usecase(folder)


def test_equal_definitions_have_equal_digests(bikeshare):
    """The digest is over what is said, not over how it is written."""
    again = parse_usecase(dict(reversed(list(GOOD.items()))), source="x")
    assert bikeshare.digest == again.digest
    assert bikeshare.digest != parse_usecase(_changed("title", "Other"), source="x").digest
