"""What a training found out besides its model: all that was tried, fold by fold, and what the winner looks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from mlcore.report import page
from mlcore.report.charts import Bar, bars

_MOST_FEATURES: Final = 15


def trials_table(
    trials: Sequence[Mapping[str, Any]],
    *,
    algorithm: str,
    parameters: Mapping[str, Any],
    holdout: float | None,
    higher_is_better: bool,
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return header and rows, the best trial first; those that met fewer folds, and those that failed, come last.

    The over-fitting gap is how much worse the loss is on validated rows than on rows that were fitted on, over the
    folds that were met.

    Parameters
    ----------
    trials : sequence of mapping
        `ModelVersion.candidates`.
    algorithm, parameters : str, mapping
        Of the winner, the only one that is scored on held-out rows.
    holdout : float or None
        Its score there.
    higher_is_better : bool
        Direction of the metric that was searched by.

    Examples
    --------
    >>> ridge = {"candidate": "ridge", "parameters": {"alpha": 1}, "validation": [3.0, 5.0], "train": [2.0, 2.5],
    ...          "mean_validation": 4.0, "state": "done", "seconds": 0.25, "note": ""}
    >>> lasso = {**ridge, "candidate": "lasso", "validation": [], "train": [], "mean_validation": None,
    ...          "state": "failed", "note": "no"}
    >>> header, rows = trials_table(
    ...     [lasso, ridge], algorithm="ridge", parameters={"alpha": 1}, holdout=4.5, higher_is_better=False
    ... )
    >>> print(*header, sep=" | ")
    candidate | parameters | newest fold | fold 2 | mean | train | over-fitting gap | holdout | seconds | outcome
    >>> for row in rows:
    ...     print(*row, sep=" | ")
    ridge | alpha = 1 | 3 | 5 | 4 | 2.25 | 1.75 | 4.5 | 0.2 | chosen
    lasso | alpha = 1 |  |  |  |  |  |  | 0.2 | failed: no
    """
    sign = -1.0 if higher_is_better else 1.0
    folds = max((len(trial["validation"]) for trial in trials), default=0)
    header = ("newest fold", *(f"fold {number}" for number in range(2, folds + 1)))[:folds]

    def rank(trial: Mapping[str, Any]) -> tuple[bool, int, float]:
        return trial["state"] == "failed", -len(trial["validation"]), sign * (trial["mean_validation"] or 0.0)

    rows = []
    for trial in sorted(trials, key=rank):
        validation, train = trial["validation"], trial["train"]
        is_chosen = (trial["candidate"], trial["parameters"]) == (algorithm, parameters)
        fitted = sum(train) / len(train) if train else None
        gap = sign * (trial["mean_validation"] - fitted) if fitted is not None else None
        state, note = "chosen" if is_chosen else trial["state"], trial["note"]
        rows.append(
            (
                str(trial["candidate"]),
                ", ".join(f"{name} = {value}" for name, value in trial["parameters"].items()),
                *(_cell(validation[fold]) if fold < len(validation) else "" for fold in range(folds)),
                *map(_cell, (trial["mean_validation"], fitted, gap, holdout if is_chosen else None)),
                f"{trial['seconds']:.1f}",
                f"{state}: {note}" if note else state,
            )
        )
    columns = ("mean", "train", "over-fitting gap", "holdout", "seconds", "outcome")
    return ("candidate", "parameters", *header, *columns), rows


def importance_blocks(importance: Sequence[Mapping[str, Any]], *, metric: str) -> Iterator[str]:
    """Draw `ModelMetadata.importance`, the most important features first; nothing where none matters."""
    told = metric.replace("_", " ")
    ranked = [item for item in importance if item["worsening"] > 0][:_MOST_FEATURES]
    if ranked:
        yield page.sentence(f"How much worse {told} gets when one feature is shuffled:")
        drawn = [Bar("importance", str(item["feature"]), float(item["worsening"])) for item in ranked]
        yield page.picture(bars(drawn, x=f"worsening of {told}"))


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
