"""Saving, loading and refusing model files."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlcore.canonical import canonical_bytes, digest_bytes
from mlcore.errors import ModelFileError
from mlcore.modelstore import LoadedModel, ModelBundle, ModelMetadata, load_model, load_reference, save_model
from mlcore.modelstore.bundle import contract_digest, golden_frame
from mlcore.modelstore.identity import model_digest
from mlcore.training.run import TrainedModel, golden_rows, train_model
from mlcore.usecase import UseCase, load_usecase

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bikeshare() -> UseCase:
    """Return the quickstart use case with a short list of candidates."""
    usecase = load_usecase(ROOT / "usecases" / "bikeshare")
    boosting = usecase.training.candidates[0].model_copy(update={"search": {}})
    return usecase.model_copy(update={"training": usecase.training.model_copy(update={"candidates": (boosting,)})})


@pytest.fixture(scope="module")
def january() -> pd.DataFrame:
    """Return one month of its table."""
    table = pd.read_csv(ROOT / "usecases" / "bikeshare" / "data" / "hourly.csv", parse_dates=["recorded_at"])
    return table[table["recorded_at"] < "2011-02-01"]


@pytest.fixture(scope="module")
def trained(bikeshare: UseCase, january: pd.DataFrame) -> TrainedModel:
    """Return a model of that month."""
    return train_model(january, bikeshare, seed=0)


@pytest.fixture()
def saved(trained: TrainedModel, bikeshare: UseCase, january: pd.DataFrame, tmp_path: Path) -> ModelBundle:
    """Return it saved in a folder of its own."""
    return save_model(
        trained, tmp_path, bikeshare, _metadata(trained), golden_rows(january, bikeshare), baseline=b"baseline"
    )


def _metadata(trained: TrainedModel) -> ModelMetadata:
    return ModelMetadata(
        algorithm=trained.algorithm,
        estimator=trained.estimator,
        parameters=trained.parameters,
        seed=trained.seed,
        metric=trained.metric,
        metrics=trained.scores.to_json(),
        train_rows=trained.train_rows,
        holdout_rows=trained.holdout_rows,
    )


def _folder(bundle: ModelBundle) -> Path:
    return Path(bundle.uri.removeprefix("file://"))


def test_what_was_saved_is_loaded(
    saved: ModelBundle, trained: TrainedModel, bikeshare: UseCase, january: pd.DataFrame
) -> None:
    """Predictions, golden rows, baseline, metadata and use case come back equal."""
    loaded = load_model(saved.uri, saved.digest, bikeshare.contract)
    assert isinstance(loaded, LoadedModel)
    assert np.array_equal(loaded.predict(january), trained.pipeline.predict(january))
    assert loaded.predict(golden_frame(loaded.golden, loaded.contract)).tolist() == list(loaded.golden.expected)
    assert (loaded.baseline, loaded.usecase) == (b"baseline", bikeshare)
    assert loaded.metadata == _metadata(trained)
    assert loaded.size_bytes == saved.size_bytes == sum(path.stat().st_size for path in _folder(saved).iterdir())


def test_the_reference_beside_the_baseline_is_mapped_checked_and_optional(
    saved: ModelBundle, trained: TrainedModel, bikeshare: UseCase, january: pd.DataFrame
) -> None:
    """It has a digest in the manifest and no part in the size that is served; one that is absent reads as nothing."""
    assert load_reference(load_model(saved.uri, saved.digest)) == b""
    bundle = save_model(
        trained,
        _folder(saved).parents[1],
        bikeshare,
        _metadata(trained),
        golden_rows(january, bikeshare),
        baseline=b"baseline",
        reference=b"sorted values",
    )
    loaded, path = load_model(bundle.uri, bundle.digest), _folder(bundle) / "reference.bin"
    assert load_reference(loaded)[:] == b"sorted values"
    assert bundle.size_bytes == loaded.size_bytes
    assert bundle.size_bytes == sum(part.stat().st_size for part in path.parent.iterdir() if part != path)
    path.chmod(0o644)
    for other in (b"other values", b""):
        path.write_bytes(other)
        with pytest.raises(ModelFileError, match=r"reference\.bin"):
            load_reference(loaded)
    path.unlink()
    assert load_reference(load_model(bundle.uri, bundle.digest)) == b""


def test_saving_twice_is_one_folder(
    saved: ModelBundle, trained: TrainedModel, bikeshare: UseCase, january: pd.DataFrame
) -> None:
    """The same model and facts have the same place, and nothing unfinished is left behind."""
    root = _folder(saved).parents[1]
    again = save_model(
        trained, root, bikeshare, _metadata(trained), golden_rows(january, bikeshare), baseline=b"baseline"
    )
    assert again.digest == saved.digest
    assert [path.name for path in (root / "bikeshare").iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize("name", ["model.skops", "dummy.skops", "metadata.json", "baseline.bin", "golden.json"])
@pytest.mark.parametrize("change", ["flipped", "truncated", "deleted"])
def test_every_damaged_file_is_refused(saved: ModelBundle, name: str, change: str) -> None:
    """A changed byte, a shorter file and a missing file are each refused by name."""
    path = _folder(saved) / name
    path.chmod(0o644)
    data = path.read_bytes()
    if change == "deleted":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] + (bytes([data[len(data) // 2] ^ 1]) if change == "flipped" else b""))
    with pytest.raises(ModelFileError, match=name.replace(".", r"\.")):
        load_model(saved.uri, saved.digest)


def _replace_model(folder: Path, data: bytes, digest: str) -> Path:
    """Put `data` in as the model and write a manifest that agrees, under a name that promises nothing."""
    other = folder.with_name("copied")
    shutil.copytree(folder, other)
    for path in other.iterdir():
        path.chmod(0o644)
    (other / "model.skops").write_bytes(data)
    manifest = json.loads((other / "manifest.json").read_bytes())
    manifest["files"]["model.skops"] = digest_bytes(data)
    (other / "manifest.json").write_bytes(canonical_bytes({**manifest, "digest": digest}))
    return other


class _Bomb:
    """Runs code when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("exploded", "w")


def test_a_pickle_is_never_loaded(saved: ModelBundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pickle in the model's place is refused although its digest is listed, and none of its code runs."""
    monkeypatch.chdir(tmp_path)
    other = _replace_model(_folder(saved), pickle.dumps(_Bomb()), saved.digest)
    with pytest.raises(ModelFileError, match="never loaded"):
        load_model(other, saved.digest)
    assert not (tmp_path / "exploded").exists()


def test_a_foreign_type_and_another_model_are_refused(
    saved: ModelBundle, bikeshare: UseCase, january: pd.DataFrame
) -> None:
    """An archive with a type outside the list, or with another model than expected, is refused."""
    import skops.io
    from sklearn.gaussian_process.kernels import RBF

    foreign = _replace_model(_folder(saved), skops.io.dumps(RBF()), saved.digest)
    with pytest.raises(ModelFileError, match="trust list"):
        load_model(foreign, saved.digest)
    shutil.rmtree(foreign)
    other = train_model(january.iloc[:-50], bikeshare, seed=0)
    swapped = _replace_model(_folder(saved), skops.io.dumps(other.pipeline), saved.digest)
    with pytest.raises(ModelFileError, match="expected model"):
        load_model(swapped, saved.digest)


def test_a_rewritten_manifest_does_not_fit_the_folders_name(saved: ModelBundle) -> None:
    """The URI vouches for the manifest: a consistent rewrite of metadata in place is found."""
    folder = _folder(saved)
    for path in folder.iterdir():
        path.chmod(0o644)
    facts = json.loads((folder / "metadata.json").read_bytes())
    facts["model"]["seed"] = 99
    (folder / "metadata.json").write_bytes(canonical_bytes(facts))
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["files"]["metadata.json"] = digest_bytes(canonical_bytes(facts))
    (folder / "manifest.json").write_bytes(canonical_bytes(manifest))
    with pytest.raises(ModelFileError, match="named after"):
        load_model(saved.uri, saved.digest)


def test_the_wrong_expectation_and_the_wrong_place_are_refused(saved: ModelBundle, tmp_path: Path) -> None:
    """Another digest, no folder, and a foreign contract each have their own words."""
    with pytest.raises(ModelFileError, match="expected model sha256:00"):
        load_model(saved.uri, "sha256:00")
    with pytest.raises(ModelFileError, match="readable file"):
        load_model(tmp_path / "nowhere", saved.digest)


_ONE_TRAINING = """
import sys
from pathlib import Path
import pandas as pd
from mlcore.modelstore.bundle import contract_digest
from mlcore.modelstore.identity import model_digest
from mlcore.training.run import train_model
from mlcore.usecase import load_usecase
usecase = load_usecase(Path("usecases/bikeshare"))
table = pd.read_csv("usecases/bikeshare/data/hourly.csv", parse_dates=["recorded_at"])
for position in (0, 1, 2):
    candidate = usecase.training.candidates[position].model_copy(update={"search": {}})
    one = usecase.model_copy(update={"training": usecase.training.model_copy(update={"candidates": (candidate,)})})
    rows = table[table["recorded_at"] < "2011-02-01"].sample(frac=1, random_state=int(sys.argv[1]))
    print(model_digest(train_model(rows, one, seed=5).pipeline, contract_digest(one)))
"""


def test_two_processes_make_the_same_model_digest_for_digest() -> None:
    """Same rows in another order, same seed, another process, hash seed and number of threads: the same digests."""
    runs = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _ONE_TRAINING, number],
            cwd=ROOT,
            env={"PYTHONHASHSEED": number, "OMP_NUM_THREADS": number, "PATH": "", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for number in ("1", "2")
    ]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 3


def test_the_digest_sees_every_difference(trained: TrainedModel, bikeshare: UseCase, january: pd.DataFrame) -> None:
    """Another seed's data, parameter or contract has another digest."""
    base = model_digest(trained.pipeline, contract_digest(bikeshare))
    less = train_model(january.iloc[:-1], bikeshare, seed=0)
    assert model_digest(less.pipeline, contract_digest(bikeshare)) != base
    assert model_digest(trained.pipeline, "sha256:other") != base
