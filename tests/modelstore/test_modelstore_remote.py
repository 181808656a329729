"""Model folders in an object store, through a server that speaks S3."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pandas as pd
import pytest

from bentos.packaging import build
from flows.settings import Settings
from mlcore.errors import ModelFileError, StorageError
from mlcore.modelstore import ModelBundle, ModelMetadata, load_model, load_reference, save_model
from mlcore.modelstore.places import _listed, place_of
from mlcore.training.run import TrainedModel, golden_rows, train_model
from mlcore.usecase import UseCase, load_usecase
from tests.support import churn_rows

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def churn() -> UseCase:
    """Return a use case with one small candidate."""
    usecase = load_usecase(ROOT / "tests" / "usecases" / "churn")
    linear = usecase.training.candidates[0].model_copy(update={"search": {}})
    return usecase.model_copy(update={"training": usecase.training.model_copy(update={"candidates": (linear,)})})


@pytest.fixture(scope="module")
def customers(churn: UseCase, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Return its rows, of the contract's types."""
    from mlcore.data.ingest import read_source

    path = tmp_path_factory.mktemp("data") / "customers.csv"
    churn_rows(400).to_csv(path, index=False)
    return read_source(str(path), churn.contract).to_pandas()


@pytest.fixture(scope="module")
def trained(churn: UseCase, customers: pd.DataFrame) -> TrainedModel:
    """Return a model."""
    return train_model(customers, churn, seed=0)


def _save(root: str, trained: TrainedModel, usecase: UseCase, rows: pd.DataFrame) -> ModelBundle:
    return save_model(
        trained, root, usecase, ModelMetadata.of(trained), golden_rows(rows, usecase), reference=b"sorted values"
    )


def _object(bucket: str, bundle: ModelBundle, name: str) -> str:
    parts = urlsplit(bundle.uri)
    return f"{bucket}/{parts.netloc}{parts.path}/{name}"


@pytest.fixture()
def saved(
    bucket: str, trained: TrainedModel, churn: UseCase, customers: pd.DataFrame, request: pytest.FixtureRequest
) -> ModelBundle:
    """Return it saved below a prefix of its own."""
    prefix = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return _save(f"s3://models/{prefix}", trained, churn, customers)


def test_what_was_saved_is_loaded(
    saved: ModelBundle, trained: TrainedModel, churn: UseCase, customers: pd.DataFrame
) -> None:
    """Predictions, reference and size are as from a disk."""
    loaded = load_model(saved.uri, saved.digest, churn.contract)
    assert np.array_equal(loaded.predict(customers), trained.pipeline.predict(customers))
    assert load_reference(loaded)[:] == b"sorted values"
    assert loaded.size_bytes == saved.size_bytes


def test_a_model_is_written_once(bucket: str, saved: ModelBundle) -> None:
    """What is there already is not touched, whoever comes with other bytes for it."""
    place_of(saved.uri).write({"model.skops": b"other", "manifest.json": b"other"})
    assert load_model(saved.uri, saved.digest).digest == saved.digest


@pytest.mark.parametrize("name", ["model.skops", "metadata.json", "manifest.json"])
@pytest.mark.parametrize("change", ["flipped", "truncated", "deleted"])
def test_every_damaged_object_is_refused(bucket: str, saved: ModelBundle, name: str, change: str) -> None:
    """A changed byte, a shorter object and a missing one are each refused by name."""
    address = _object(bucket, saved, name)
    data = httpx.get(address).content
    if change == "deleted":
        httpx.delete(address)
    else:
        half = len(data) // 2
        httpx.put(address, content=data[:half] + (bytes([data[half] ^ 1]) + data[half + 1 :]) * (change == "flipped"))
    with pytest.raises(ModelFileError, match=name.replace(".", r"\.")):
        load_model(saved.uri, saved.digest)


def test_without_its_manifest_there_is_no_model(bucket: str, saved: ModelBundle) -> None:
    """A writer that was killed before the end left nothing that can be loaded; the next one completes it."""
    place = place_of(saved.uri)
    files = {name: place.read(name) for name in _listed(place)}
    httpx.delete(_object(bucket, saved, "manifest.json"))
    httpx.delete(_object(bucket, saved, "golden.json"))
    with pytest.raises(ModelFileError, match="readable file"):
        load_model(saved.uri, saved.digest)
    place.write(files)
    assert load_model(saved.uri, saved.digest).digest == saved.digest


def test_a_bento_is_built_from_it(saved: ModelBundle, churn: UseCase, tmp_path: Path) -> None:
    """The service gets a copy on its disk, without what only monitoring reads."""
    built = build(
        model_uri=saved.uri,
        model_digest=saved.digest,
        usecase=churn,
        model_version=1,
        bentoml_home=tmp_path,
        lock_file=ROOT / "requirements.lock",
    )
    copy = built.path / "src" / "bundle" / "model"
    assert load_model(copy, saved.digest).digest == saved.digest
    assert not (copy / "reference.bin").exists()


def test_a_store_that_refuses_is_one_clear_error(
    bucket: str, trained: TrainedModel, churn: UseCase, customers: pd.DataFrame
) -> None:
    """No such bucket, and an address of another kind."""
    with pytest.raises(StorageError, match=r"cannot be written.*NO_SUCH_BUCKET"):
        _save("s3://elsewhere/x", trained, churn, customers)
    with pytest.raises(ModelFileError, match="gs://"):
        place_of("gs://models/x")


def test_models_go_where_the_setting_says(tmp_path: Path) -> None:
    """Pages stay on a disk, where people open them."""
    remote = Settings(home=tmp_path, artifacts="s3://models/team/")
    assert (remote.models_root, remote.artifacts_root) == ("s3://models/team/models", tmp_path / "artifacts")
    local = Settings(home=tmp_path)
    assert local.models_root == str(tmp_path / "artifacts" / "models")
