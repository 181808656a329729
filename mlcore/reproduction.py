"""Training a model again from what was written down, to prove that it came from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mlcore.errors import TrainingError
from mlcore.modelstore.bundle import contract_digest
from mlcore.modelstore.identity import model_digest
from mlcore.training.run import fit_winner, train_model
from mlcore.training.search import dummy_candidate
from mlcore.training.splits import split_holdout

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.modelstore import LoadedModel
    from mlcore.policy.training import Candidate
    from mlcore.training.provenance import Provenance


@dataclass(frozen=True, slots=True)
class Reproduction:
    """Whether training again gave the model again.

    Parameters
    ----------
    expected, found : str
        Digests of the model as registered and as trained now.
    algorithm : str
        What won this time; with the winner's parameters given, the registered one.
    differences : tuple of str
        What is not as it was then: code, lock, libraries.
    """

    expected: str
    found: str
    algorithm: str
    differences: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether it is the very same model."""
        return self.found == self.expected

    @property
    def sentence(self) -> str:
        """The outcome in words."""
        told = f" Not as it was then: {'; '.join(self.differences)}." if self.differences else ""
        if self.is_same:
            return f"Trained again, the model has the same digest, {self.expected}.{told}"
        blame = told or " Code, lock and libraries are as they were: is the dataset?"
        return f"Trained again, the model has another digest: expected {self.expected}, got {self.found}.{blame}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "is_same": self.is_same, "sentence": self.sentence}


def reproduce(model: LoadedModel, frame: pd.DataFrame, here: Provenance, *, search: bool = False) -> Reproduction:
    """Train `model` again on its dataset version, under the use case as it was then, and compare digests.

    Parameters
    ----------
    model : LoadedModel
    frame : DataFrame
        The rows of its dataset version.
    here : Provenance
        Code, lock and libraries of this installation.
    search : bool, default=False
        Whether to search again, too, instead of fitting the registered winner. A search that the time budget cut
        short may choose otherwise on a faster or slower machine.

    Raises
    ------
    TrainingError
        If the use case has no such candidate, or it cannot be fitted on these rows.
    """
    usecase, known = model.usecase, model.metadata
    if search:
        trained = train_model(frame, usecase, seed=known.seed)
        pipeline, algorithm = trained.pipeline, trained.algorithm
    else:
        train, _ = split_holdout(frame, usecase)
        weighting = known.metrics.get("weighting", "everything")
        pipeline = fit_winner(train, usecase, _winner(model), known.parameters, known.seed, weighting)
        algorithm = known.algorithm
    found = model_digest(pipeline, contract_digest(usecase))
    return Reproduction(model.digest, found, algorithm, tuple(_differences(known.provenance, here.to_json())))


def _winner(model: LoadedModel) -> Candidate:
    usecase, known = model.usecase, model.metadata
    candidates = (*usecase.training.candidates, dummy_candidate(usecase))
    wanted = (known.algorithm, known.estimator)
    found = next((item for item in candidates if (item.name, item.estimator) == wanted), None)
    if found is None:
        names = " or ".join(item.name for item in candidates)
        raise TrainingError("no such candidate", subject=usecase.name, expected=names, got=known.algorithm)
    return found


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    told = []
    if before.get("code_dirty"):
        told.append("it was trained with uncommitted changes")
    if before.get("code_commit") != now["code_commit"]:
        told.append(f"code {before.get('code_commit') or 'unknown'} then, {now['code_commit'] or 'unknown'} now")
    if now["code_dirty"]:
        told.append("there are uncommitted changes now")
    if before.get("lock_digest") != now["lock_digest"]:
        told.append("another requirements.lock")
    old, new = before.get("libraries", {}), now["libraries"]
    return told + [
        f"{name} {old.get(name, 'absent')} then, {new.get(name, 'absent')} now"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
