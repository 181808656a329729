"""How much worse a model gets when one feature is shuffled (Breiman, 2001)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.metrics import Metric, Output

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

#: More rows make the figure finer, not different.
MAXIMUM_ROWS: Final = 2_000
REPEATS: Final = 3


@dataclass(frozen=True, slots=True)
class Importance:
    """Mean worsening of the metric's loss when `feature` is shuffled, and its deviation over repeats."""

    feature: str
    worsening: float
    deviation: float


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
