"""What a killed backtest had done: a file of looked-at windows and verdicts, and its models beside it."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from mlcore.canonical import digest_bytes, digest_value
from mlcore.errors import JournalBusyError, ModelFileError
from mlcore.jsonlines import JsonLines

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.drift import Baseline
    from mlcore.modelstore import LoadedModel
    from mlcore.training.run import TrainedModel
    from mlcore.usecase import UseCase

_FILE: Final = "journal.jsonl"
_LOCK: Final = "lock"


@dataclass(frozen=True, slots=True)
class SavedModel:
    """A model's folder, the candidate that won its search with its parameters, and the size of its files."""

    uri: str
    digest: str
    winner: tuple[str, Mapping[str, Any]]
    size_bytes: int


class Journal:
    """Facts by key, one line of JSON each, and model folders that are loaded as any other.

    Parameters
    ----------
    folder : Path
        Its name must tell everything that the facts depend on besides their keys: data and code.

    Raises
    ------
    JournalBusyError
        If another backtest goes on from the same journal.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = _locked(folder)
        self._lines = JsonLines(folder / _FILE)
        self._facts: dict[str, Any] = dict(self._lines.read())

    def get(self, key: str) -> Any:
        """Return what was kept under `key`, None where nothing was."""
        return self._facts.get(key)

    def keep(self, key: str, value: Any) -> None:
        """Append one fact; it is on disk when this returns."""
        self._lines.add([key, value])
        self._facts[key] = value

    def model(self, key: str) -> LoadedModel | None:
        """Return the model kept under `key`; None where there is none, or its folder is not sound any more."""
        from mlcore.modelstore import load_model

        fact = self.get(f"model:{key}")
        if fact is None:
            return None
        try:
            return load_model(fact["uri"], fact["digest"])
        except ModelFileError:
            return None

    def keep_model(self, key: str, saved: SavedModel) -> None:
        """Keep where a model is that `save_trained` wrote."""
        self.keep(f"model:{key}", {"uri": saved.uri, "digest": saved.digest, "winner": list(saved.winner)})

    def winner(self, key: str) -> tuple[str, Mapping[str, Any]]:
        """Return the candidate that won the search of the model kept under `key`, and its parameters."""
        name, parameters = self.get(f"model:{key}")["winner"]
        return name, parameters

    def remove(self) -> None:
        """Forget the backtest; what it found is kept elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Let another backtest go on from here."""
        self._lock.close()


def save_trained(
    trained: TrainedModel, usecase: UseCase, past: pd.DataFrame, baseline: Baseline, folder: Path
) -> SavedModel:
    """Write a model of the rows `past` into the journal's `folder`."""
    from mlcore.modelstore import ModelMetadata, save_model
    from mlcore.training.run import golden_rows

    metadata = ModelMetadata.of(trained)
    bundle = save_model(
        trained,
        folder / "models",
        usecase,
        metadata,
        golden_rows(past, usecase),
        baseline=baseline.to_bytes(),
        reference=baseline.reference_bytes(),
    )
    parameters = metadata.to_json()["parameters"]
    return SavedModel(bundle.uri, bundle.digest, (trained.algorithm, parameters), bundle.size_bytes)


def _locked(folder: Path) -> IO[bytes]:
    """Return a file in `folder` that this process alone holds; it lets go of it when it ends, however it does."""
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / _LOCK).open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not (folder / _LOCK).is_file() or not os.path.samestat(os.fstat(file.fileno()), (folder / _LOCK).stat()):
            raise BlockingIOError  # the one that had it removes the folder just now
    except BlockingIOError:
        file.close()
        raise JournalBusyError(
            "the same backtest is running already",
            subject=str(folder),
            expected="one at a time for the same rows, use case and code",
            got="another process, or another replay of this one",
            remedy="Wait for its end: what it has found is not computed again. Or stop it, and start again.",
        ) from None
    return file


def journal_name(data_digest: str, usecase: UseCase, seed: int) -> str:
    """Return a name that is another one for other rows, another use case, seed, library or code."""
    from mlcore.training.provenance import libraries

    package = Path(__file__).parent.parent
    code = {str(path.relative_to(package)): digest_bytes(path.read_bytes()) for path in sorted(package.rglob("*.py"))}
    facts = {"data": data_digest, "usecase": usecase.digest, "seed": seed, "code": code, "libraries": libraries()}
    return digest_value(facts).removeprefix("sha256:")[:32]
