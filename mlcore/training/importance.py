"""How much worse a model gets when one feature is shuffled (Breiman, 2001)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.metrics import Metric, Output

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

    from mlcore.usecase import UseCase

#: More rows make the figure finer, not different.
MAXIMUM_ROWS: Final = 2_000
REPEATS: Final = 3


@dataclass(frozen=True, slots=True)
class Importance:
    """Mean worsening of the metric's loss when `feature` is shuffled, and its deviation over repeats."""

    feature: str
    worsening: float
    deviation: float


def by_column(importance: Mapping[str, float], usecase: UseCase) -> dict[str, float]:
    """Return which share of all worsening each contract column has, itself and through what is generated from it.

    What a step makes of several columns counts for each of them alike; what gains nothing by being known, not at all.
    """
    from mlcore.policy.naming import generated_names

    made_of: dict[str, tuple[str, ...]] = {}
    for step in usecase.training.features:
        for name in generated_names(step, usecase.contract):
            own = [column for column in step.columns if column in name] or step.columns
            made_of[name] = tuple(source for column in own for source in made_of.get(column, (column,)))
    found: dict[str, float] = {}
    for name, worsening in importance.items():
        sources = made_of.get(name, (name,))
        for source in sources:
            found[source] = found.get(source, 0.0) + max(worsening, 0.0) / len(sources)
    total = sum(found.values())
    return {name: value / total for name, value in found.items()} if total > 0 else {}


def permutation_importance(
    pipeline: Pipeline, frame: pd.DataFrame, target: Any, metric: Metric, rng: np.random.Generator
) -> tuple[Importance, ...]:
    """Return every feature, raw and generated, the most important first.

    Parameters
    ----------
    pipeline : Pipeline
        A fitted pipeline of `build_pipeline`.
    frame : DataFrame
        Held-out rows; at most `MAXIMUM_ROWS` of them are used.
    target : ndarray of shape (n_rows,)
    metric : Metric
    rng : numpy.random.Generator
    """
    whole = frame
    if len(frame) > MAXIMUM_ROWS:
        rows = np.sort(rng.choice(len(frame), MAXIMUM_ROWS, replace=False))
        frame, target = frame.iloc[rows], target[rows]
    matrix = pipeline[0].transform(frame, whole)
    model = pipeline[1:]
    before = metric.loss(metric.value(target, Output.of(model, matrix)))
    # asked together: of a small question most of the time goes into asking
    repeats, found = np.repeat(matrix[None], REPEATS, axis=0), []
    for position, name in enumerate(pipeline[0].get_feature_names_out()):
        kept = matrix[:, position]
        for repeat in repeats:
            repeat[:, position] = kept[rng.permutation(len(kept))]
        answers = Output.of(model, repeats.reshape(-1, matrix.shape[1]))
        rows = np.arange(len(answers.values)).reshape(REPEATS, -1)
        worsenings = [metric.loss(metric.value(target, answers.take(part))) - before for part in rows]
        repeats[:, :, position] = kept
        found.append(Importance(str(name), float(np.mean(worsenings)), float(np.std(worsenings))))
    finite = [importance for importance in found if np.isfinite(importance.worsening)]
    return tuple(sorted(finite, key=lambda importance: (-importance.worsening, importance.feature)))
