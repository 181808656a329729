"""Writing a model's folder: complete or not at all, and proven loadable before it gets its name."""

from __future__ import annotations

import json
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
    PERFORMANCE,
    REFERENCE,
    Golden,
    ModelBundle,
    ModelMetadata,
    contract_digest,
    golden_frame,
)
from mlcore.modelstore.identity import model_digest
from mlcore.modelstore.places import place_of
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
    root: str | Path,
    usecase: UseCase,
    metadata: ModelMetadata,
    golden: pd.DataFrame,
    *,
    baseline: bytes = b"",
    reference: bytes = b"",
    performance: bytes = b"",
) -> ModelBundle:
    """Write one immutable folder under ``root/<use case>/`` and return its digest and place.

    The folder's name ends in the digest of its manifest, which holds the digest of every file: a URI kept in
    the ledger vouches for each byte. Archives carry ids and times: the same model saved again has the same digest and
    another folder.

    Parameters
    ----------
    trained : Trained
    root : str or Path
        Where all models are: a folder, a ``file://`` or an ``s3://`` address.
    usecase : UseCase
    metadata : ModelMetadata
    golden : DataFrame
        Input rows whose answers are kept, to prove a deployment.
    baseline : bytes, default=b""
        The drift baseline, as `mlcore.drift` wrote it.
    reference : bytes, default=b""
        The sorted values beside it; no file is written where there are none.
    performance : bytes, default=b""
        What estimates performance without labels, as `mlcore.performance` wrote it; no file where there is nothing.

    Raises
    ------
    ModelFileError
        If the fitted pipeline holds something that could not be loaded again under the fixed trust list.
    StorageError
        If the folder cannot be written.
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
    loaded = sum(len(data) for data in parts.values())
    parts |= {name: data for name, data in ((REFERENCE, reference), (PERFORMANCE, performance)) if data}
    manifest = canonical_bytes(
        {"format": FORMAT, "digest": digest, "files": {name: digest_bytes(data) for name, data in parts.items()}}
    )
    name = f"{_hex(digest)[:16]}-{_hex(digest_bytes(manifest))[:32]}"
    place = place_of(f"{str(root).rstrip('/')}/{usecase.name}/{name}")
    place.write({**parts, MANIFEST: manifest})
    return ModelBundle(digest=digest, uri=place.uri, size_bytes=loaded + len(manifest))


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
