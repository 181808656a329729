"""Writing a model's folder: complete or not at all, and proven loadable before it gets its name."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mlcore.canonical import canonical_bytes, digest_bytes
from mlcore.errors import ModelFileError
from mlcore.metrics import Output
from mlcore.modelstore.bundle import (
    BASELINE,
    DUMMY,
    FORMAT,
    GOLDEN,
    MANIFEST,
    METADATA,
    MODEL,
    Golden,
    ModelBundle,
    ModelMetadata,
    contract_digest,
    golden_frame,
)
from mlcore.modelstore.identity import model_digest
from mlcore.modelstore.trust import TRUSTED_TYPES
from mlcore.usecase import UseCase

if TYPE_CHECKING:
    import pandas as pd


class Trained(Protocol):
    """What is saved: `mlcore.training.run.TrainedModel` is one."""

    @property
    def pipeline(self) -> Any:
        """The fitted pipeline."""

    @property
    def dummy(self) -> Any:
        """The fitted baseline that always gives the same answer."""


def save_model(
    trained: Trained,
    folder: Path,
    usecase: UseCase,
    metadata: ModelMetadata,
    golden: pd.DataFrame,
    *,
    baseline: bytes = b"",
) -> ModelBundle:
    """Write one immutable folder under ``folder/<use case>/`` and return its digest and place.

    The folder's name ends in the digest of its manifest, which holds the digest of every file: a URI kept in
    the ledger vouches for each byte. Saving the same model with the same metadata again returns the same URI.

    Parameters
    ----------
    trained : Trained
    folder : Path
        Root of the artifact store.
    usecase : UseCase
    metadata : ModelMetadata
    golden : DataFrame
        Input rows whose answers are kept, to prove a deployment.
    baseline : bytes, default=b""
        The drift baseline, as `mlcore.drift` wrote it.

    Raises
    ------
    ModelFileError
        If the fitted pipeline holds something that could not be loaded again under the fixed trust list.
    """
    from zipfile import ZIP_DEFLATED

    import skops.io

    digest = model_digest(trained.pipeline, contract_digest(usecase))
    answers = tuple(Output.of(trained.pipeline, golden).values.tolist()) if len(golden) else ()
    kept = Golden(rows=tuple(_json_rows(golden)), expected=answers)
    parts = {
        MODEL: skops.io.dumps(trained.pipeline, compression=ZIP_DEFLATED, compresslevel=6),
        DUMMY: skops.io.dumps(trained.dummy, compression=ZIP_DEFLATED, compresslevel=6),
        METADATA: canonical_bytes({"usecase": usecase.model_dump(mode="json"), "model": metadata.to_json()}),
        BASELINE: baseline,
        # Plain JSON: RFC 8785 has no integers beyond 2^53, and keys can be larger.
        GOLDEN: json.dumps({"rows": kept.rows, "expected": kept.expected}, allow_nan=False).encode(),
    }
    _prove(parts[MODEL], digest, kept, usecase)
    manifest = canonical_bytes(
        {"format": FORMAT, "digest": digest, "files": {name: digest_bytes(data) for name, data in parts.items()}}
    )
    name = f"{_hex(digest)[:16]}-{_hex(digest_bytes(manifest))[:32]}"
    place = folder / usecase.name / name
    _write_folder(place, {**parts, MANIFEST: manifest})
    size = sum(len(data) for data in parts.values()) + len(manifest)
    return ModelBundle(digest=digest, uri=place.resolve().as_uri(), size_bytes=size)


def _prove(data: bytes, digest: str, golden: Golden, usecase: UseCase) -> None:
    import skops.io

    refused = [kind for kind in skops.io.get_untrusted_types(data=data) if kind not in TRUSTED_TYPES]
    if refused:
        raise ModelFileError(
            "this model could not be loaded again",
            subject=usecase.name,
            expected="only types of the fixed trust list",
            got=", ".join(sorted(refused)[:5]),
            remedy="Choose another estimator or parameter.",
        )
    again = skops.io.loads(data, trusted=list(TRUSTED_TYPES))
    same = model_digest(again, contract_digest(usecase)) == digest
    if golden.rows and same:
        answers = Output.of(again, golden_frame(golden, usecase.contract)).values
        same = bool(np.array_equal(answers, np.array(golden.expected, dtype=answers.dtype)))
    if not same:
        raise ModelFileError(
            "the saved model is not the fitted one",
            subject=usecase.name,
            remedy="Choose another estimator or parameter.",
        )


def _write_folder(place: Path, files: Mapping[str, bytes]) -> None:
    if place.is_dir():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    unfinished = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    unfinished.mkdir()
    try:
        for name, data in files.items():
            with (unfinished / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            (unfinished / name).chmod(0o444)
        _sync_folder(unfinished)
        unfinished.rename(place)
        _sync_folder(place.parent)
    except FileExistsError:
        # Another process wrote the very same bytes first; its folder is as good as ours.
        shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        if place.is_dir():
            return
        raise ModelFileError(
            "a model cannot be written",
            subject=str(place),
            got=error.strerror or type(error).__name__,
            remedy="Free some space or check the folder's permissions, then start the training again.",
        ) from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _json_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): _json_value(value) for name, value in row.items()} for row in frame.to_dict("records")]


def _json_value(value: Any) -> Any:
    import pandas as pd

    if value is None or value is pd.NaT or value is pd.NA or (isinstance(value, float) and not np.isfinite(value)):
        return None
    if isinstance(value, datetime):
        stamp = pd.Timestamp(value)
        stamp = stamp.tz_localize(UTC) if stamp.tzinfo is None else stamp.tz_convert(UTC)
        return stamp.isoformat()
    return value.item() if isinstance(value, np.generic) else value


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
