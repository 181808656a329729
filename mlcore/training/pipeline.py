"""One scikit-learn Pipeline per trial: features, preparation, estimator; the fitted one serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlcore.contract import DataContract
from mlcore.policy.training import Candidate, FeatureStep
from mlcore.training.estimators import make_estimator, takes_missing
from mlcore.training.naming import feature_names, generated_names, monomials

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from mlcore.training.features import ModelFeatures
    from mlcore.usecase import UseCase


def build_pipeline(
    usecase: UseCase, candidate: Candidate, parameters: Mapping[str, Any], seed: int, *, threads: int = 1
) -> Pipeline:
    """Return the unfitted pipeline of one trial.

    Parameters
    ----------
    usecase : UseCase
    candidate : Candidate
    parameters : mapping
        The trial's parameters; they win over the candidate's fixed ones.
    seed : int
    threads : int, default=1
        For estimators that take a number of threads.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Takes a DataFrame with at least the contract's input columns, in any order.

    Raises
    ------
    UseCaseError
        If a feature step, the estimator or a parameter is not possible.
    """
    from sklearn.pipeline import Pipeline

    from mlcore.training.preparation import Preparation

    estimator = make_estimator(
        candidate.estimator,
        {**candidate.parameters, **parameters},
        usecase.contract.task,
        seed=seed,
        threads=threads,
    )
    features = model_features(usecase)
    names = [str(name) for name in features.get_feature_names_out()]
    preparation = Preparation(
        names=names,
        discrete=[position for position, name in enumerate(names) if name in discrete_names(usecase)],
        impute=not takes_missing(estimator),
        one_hot=candidate.one_hot,
        scale=candidate.scale,
    )
    return Pipeline([("features", features), ("preparation", preparation), ("estimator", estimator)])


def model_features(usecase: UseCase) -> ModelFeatures:
    """Return the unfitted first step of every pipeline of the use case."""
    from mlcore.training.features import ModelFeatures

    contract, policy = usecase.contract, usecase.training
    feature_names(policy, contract)
    # A raw timestamp is a number that only ever grows: a model that sees it learns the row's age, not the world.
    raw = [c.name for c in contract.features if c.name not in policy.exclude and c.type != "timestamp"]
    used = {name for step in policy.features for name in step.columns} | set(raw)
    return ModelFeatures(
        columns=[
            [column.name, column.type, list(column.categories) if column.categories else None]
            for column in contract.inputs
            if column.name in used
        ],
        raw=raw,
        steps=[_plain(step, contract) for step in policy.features],
    )


def _plain(step: FeatureStep, contract: DataContract) -> dict[str, Any]:
    factors: list[list[str]] = []
    if step.kind == "product":
        factors = [list(step.columns)]
    elif step.kind == "polynomial":
        factors = [list(monomial) for monomial in monomials(step.columns, step.degree)]
    return {
        "kind": step.kind,
        "columns": list(step.columns),
        "parts": list(step.parts),
        "count": step.count,
        "monomials": factors,
        "names": list(generated_names(step, contract)),
    }


def discrete_names(usecase: UseCase) -> frozenset[str]:
    """Return the features that are categories or have few values, so that one column each is useful."""
    from mlcore.training.generators import DISCRETE_PARTS

    contract = usecase.contract
    names = {column.name for column in contract.features if column.type in ("category", "text")}
    for step in usecase.training.features:
        made = generated_names(step, contract)
        if step.kind in ("cross", "bins"):
            names.update(made)
        elif step.kind == "calendar":
            parts = [part for _ in step.columns for part in step.parts]
            names.update(name for name, part in zip(made, parts, strict=True) if part in DISCRETE_PARTS)
    return frozenset(names)
