"""The matrix that an estimator is fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import issparse
from sklearn.linear_model import LogisticRegression

from mlcore.modelstore.identity import model_digest
from mlcore.training.pipeline import build_pipeline
from mlcore.training.preparation import Preparation
from mlcore.training.search import planned_trials
from mlcore.usecase import UseCase


def _matrix(rng: np.random.Generator) -> np.ndarray[Any, Any]:
    matrix = np.column_stack(
        [rng.normal(size=600), rng.integers(-1, 40, 600), rng.normal(size=600), np.full(600, np.nan)]
    )
    matrix[rng.random(600) < 0.1, 1] = np.nan
    matrix[rng.random(600) < 0.2, 2] = np.nan
    return matrix


@pytest.mark.parametrize("scale", [True, False])
def test_few_ones_are_the_same_matrix_as_many_zeros(scale: bool) -> None:
    """Missing numbers, missing categories and columns without any value are where they are in the full matrix."""
    matrix = _matrix(np.random.default_rng(0))
    preparation = Preparation(list("abcd"), [1, 3], impute=True, one_hot=True, scale=scale, sparse_fit=True)
    few = preparation.fit_transform(matrix)
    assert issparse(few)
    assert (few.toarray() == preparation.transform(matrix)).all()
    assert few.shape[1] == len(preparation.get_feature_names_out())


def test_a_matrix_of_few_columns_stays_full() -> None:
    """Where most values are no zeros, zeros save nothing."""
    matrix = _matrix(np.random.default_rng(0))
    matrix[:, 1] = np.arange(600) % 2
    preparation = Preparation(list("abcd"), [1], impute=True, one_hot=True, scale=True, sparse_fit=True)
    assert isinstance(preparation.fit_transform(matrix), np.ndarray)


def test_the_model_is_the_same_but_for_rounding() -> None:
    """Fitted on either, it gives the same answers; how it was fitted is part of no digest."""
    rng = np.random.default_rng(1)
    matrix, target = _matrix(rng), rng.integers(0, 2, 600)
    answers, steps = [], []
    for sparse in (True, False):
        step = Preparation(list("abcd"), [1], impute=True, one_hot=True, scale=True, sparse_fit=sparse)
        model = LogisticRegression().fit(step.fit_transform(matrix), target)
        answers.append(model.predict_proba(step.transform(matrix)))
        steps.append(step)
    assert answers[0] == pytest.approx(answers[1], abs=1e-6)
    assert model_digest(steps[0], "") == model_digest(steps[1], "")
    old = steps[1]
    del old.__dict__["sparse_fit"]  # as in the files of models from before there was a choice
    assert model_digest(old, "") == model_digest(steps[0], "")
    assert old.get_params()["sparse_fit"] is False


def test_only_what_is_fitted_alike_is_given_few_ones(bikeshare: UseCase) -> None:
    """Of the quickstart's candidates that is the linear one; trees keep their full matrix."""
    built = {
        candidate.name: build_pipeline(bikeshare, candidate, parameters, 0)[1].sparse_fit
        for candidate, parameters in planned_trials(bikeshare, seed=0)
    }
    assert built == {"dummy": False, "gradient_boosting": False, "forest": False, "poisson": True}
