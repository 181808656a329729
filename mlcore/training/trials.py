"""One tried set of parameters, and the file that remembers what a killed search had tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlcore.jsonlines import JsonLines
from mlcore.training.outoffold import FoldEvidence


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate with one set of parameters, and how it did.

    Parameters
    ----------
    number : int
        Position in the search; 0 is the dummy baseline.
    candidate, estimator : str
        Name in the use case, and import path.
    parameters : mapping
        Every parameter that the use case sets, fixed and searched.
    state : {"done", "stopped", "skipped", "failed"}
        ``stopped``: not among the better half after the newest fold; ``skipped``: the budget was spent.
    validation, train : tuple of float
        The search metric on each fold scored, the newest first, and on that fold's training rows.
    seconds : float
    note : str
        Why it failed, or the first warning.
    evidence : tuple of FoldEvidence
        How it did on each fold scored, beyond the one number; empty where nobody asked.
    """

    number: int
    candidate: str
    estimator: str
    parameters: Mapping[str, Any]
    state: Literal["done", "stopped", "skipped", "failed"] = "skipped"
    validation: tuple[float, ...] = ()
    train: tuple[float, ...] = ()
    seconds: float = 0.0
    note: str = ""
    evidence: tuple[FoldEvidence, ...] = ()

    @property
    def mean_validation(self) -> float:
        """Mean of the search metric over the folds scored; nan without any."""
        return float(np.mean(self.validation)) if self.validation else float("nan")

    @property
    def newest_fold(self) -> int:
        """Number of the fold that it met last, or failed on."""
        return len(self.validation) - (self.state != "failed")

    def to_json(self) -> dict[str, Any]:
        """Return the row of the trials table; the evidence has a place of its own."""
        return {
            "number": self.number,
            "candidate": self.candidate,
            "estimator": self.estimator,
            "parameters": dict(self.parameters),
            "state": self.state,
            "validation": list(self.validation),
            "train": list(self.train),
            "mean_validation": self.mean_validation if self.validation else None,
            "seconds": round(self.seconds, 4),
            "note": self.note,
        }


class SearchJournal:
    """The fits that are done, one line of JSON each, for a search that was killed to go on from.

    Parameters
    ----------
    path : Path
        Its name must tell everything that scores depend on: dataset, use case, seed, libraries.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines = JsonLines(path)

    def read(self) -> dict[tuple[int, int], Trial]:
        """Return each trial as it was after each fold it met; a line that was cut off counts as not written."""
        known = {}
        for values in self._lines.read():
            fold = values.pop("fold")
            parts = {name: tuple(values[name]) for name in ("validation", "train")}
            evidence = tuple(FoldEvidence.from_json(item) for item in values.get("evidence", ()))
            trial = Trial(**{**values, **parts, "evidence": evidence})
            known[trial.number, fold] = trial
        return known

    def add(self, trial: Trial, fold: int) -> None:
        """Append one fit; it is on disk when this returns."""
        self._lines.add({**asdict(trial), "fold": fold})

    def remove(self) -> None:
        """Forget the search; what it found is kept elsewhere."""
        self.path.unlink(missing_ok=True)
