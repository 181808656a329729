"""What a column adds to all others: one that makes most of the others' errors vanish may be the answer itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from mlcore.validation.columns import numbers, places, suspects

if TYPE_CHECKING:
    import pandas as pd

    from mlcore.usecase import UseCase

Array = np.ndarray[Any, Any]

#: Rows that the forests are fitted on and asked about, a fifth at a time.
_MOST_ROWS: Final = 2_000
_FIFTHS: Final = 5
_TREES: Final = 30
#: Share of the others' errors that a column may leave, and of those that are left by one of few values; how rarely
#: chance makes so large a difference (sign test); from when on its errors are surely more often theirs, too.
_LEFT: Final = 0.4
_LEFT_BY_FEW: Final = 0.6
_CHANCE: Final = 0.01
_SHARED: Final = 0.01
#: Earlier targets of a series that are known anyway.
_EARLIER: Final = 3


@dataclass(frozen=True, slots=True)
class Gain:
    """What a column adds to all others.

    Parameters
    ----------
    without, together : float
        Shares of the rows that all others, and all, tell wrong.
    p : float
        How rarely chance makes such a difference.
    shared : float or None
        How rarely chance lets the column's own errors fall on rows that the others tell wrong, too, as often as they
        do, given the label: a rare label is easily told wrong. None for a column of more values than there are labels.
    """

    without: float
    together: float
    p: float
    shared: float | None = None

    @property
    def dominant(self) -> bool:
        """Whether it tells what the others do not, and, if it may be the labels themselves, errs at random."""
        if self.p > _CHANCE:
            return False
        if self.shared is None:
            return self.together <= _LEFT * self.without
        return self.together <= _LEFT_BY_FEW * self.without and self.shared > _SHARED


class OtherColumns:
    """Forests on all columns, and on all but one, each row answered by one that did not see it.

    Honest columns that tell a label well have company: the length of a petal tells what its width tells, and the flower
    that one takes for another kind the other does, too. A column that was made of the label, a few errors included,
    tells what the others do not, and its errors are anywhere. Of a series earlier targets count among
    the others, so that a column that is one of them gains nothing.

    Parameters
    ----------
    usecase : UseCase
        A classification.
    rows : DataFrame
        Contract columns, in the order of time where there is one.
    target : ndarray of shape (n_rows,)

    References
    ----------
    Lei, J., G'Sell, M., Rinaldo, A., Tibshirani, R. & Wasserman, L. (2018). Distribution-free predictive inference for
    regression. JASA 113(523). (leave one covariate out)
    Birch, M. W. (1964). The detection of partial association, I: the 2 x 2 case. JRSS B 26(2).
    """

    def __init__(self, usecase: UseCase, rows: pd.DataFrame, target: Array) -> None:
        from mlcore.training.splits import evenly_spread

        self._names: list[str | None] = [column.name for column in suspects(usecase)]
        asked = evenly_spread(len(rows), _MOST_ROWS)
        values = [numbers(column, rows, rows)[asked] for column in suspects(usecase)]
        columns = [places(column, column)[0] for column in values]
        if usecase.contract.time is not None:
            code = np.unique(target, return_inverse=True)[1].astype(float)
            for steps in range(1, _EARLIER + 1):
                columns.append(np.concatenate([np.full(steps, np.nan), code[:-steps]])[asked])
                self._names.append(None)
        self._columns = np.column_stack(columns)
        self._target = target[asked]
        self._fifth = np.random.default_rng(0).permutation(len(asked)) % _FIFTHS
        self._answers: dict[str | None, Array] = {}

    def gain(self, name: str, label: Any = None) -> Gain:
        """Return what the column `name` adds, to every answer or to whether it is `label`."""
        from scipy import stats

        classes = np.unique(self._target, return_inverse=True)[1]
        truth = self._target if label is None else self._target == label
        wrong = []
        for left_out in (name, None):
            answers = self._answered(left_out)
            wrong.append(truth != (answers if label is None else answers == label))
        better, worse = int((wrong[0] & ~wrong[1]).sum()), int((~wrong[0] & wrong[1]).sum())
        p = float(stats.binom.sf(better - 1, better + worse, 0.5)) if better else 1.0
        shared, errors = None, self._errors(name, truth)
        if errors is not None:
            shared = _rarely_both(errors, wrong[0], classes)
        return Gain(float(wrong[0].mean()), float(wrong[1].mean()), p, shared)

    def _errors(self, name: str, truth: Array) -> Array | None:
        """Return which rows a column of few values tells wrong, each value standing for what it mostly goes with."""
        values = np.unique(np.nan_to_num(self._columns[:, self._names.index(name)], nan=-1.0), return_inverse=True)[1]
        if values.max() >= len(np.unique(self._target)):
            return None
        classes, code = np.unique(truth, return_inverse=True)
        counts = np.zeros((values.max() + 1, len(classes)))
        np.add.at(counts, (values, code), 1)
        return np.asarray(counts.argmax(axis=1)[values] != code)

    def _answered(self, left_out: str | None) -> Array:
        from sklearn.ensemble import RandomForestClassifier

        if left_out not in self._answers:
            kept = [number for number, name in enumerate(self._names) if name is None or name != left_out]
            columns = self._columns[:, kept] if kept else np.zeros((len(self._target), 1))
            answers = self._target.copy()
            for fifth in range(_FIFTHS):
                asked = self._fifth == fifth
                forest = RandomForestClassifier(_TREES, max_features=0.5, random_state=0)
                answers[asked] = forest.fit(columns[~asked], self._target[~asked]).predict(columns[asked])
            self._answers[left_out] = answers
        return self._answers[left_out]


def _rarely_both(first: Array, second: Array, strata: Array) -> float:
    """Return how rarely chance lets so many rows be in both, the numbers in each stratum given (Birch, 1964)."""
    from scipy import stats

    likely = np.ones(1)
    for stratum in np.unique(strata):
        one, other = first[strata == stratum], second[strata == stratum]
        most = int(min(one.sum(), other.sum()))
        likely = np.convolve(likely, stats.hypergeom.pmf(np.arange(most + 1), len(one), one.sum(), other.sum()))
    return float(min(likely[int((first & second).sum()) :].sum(), 1.0))
