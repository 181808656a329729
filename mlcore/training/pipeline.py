"""One scikit-learn Pipeline per trial: features, preparation, estimator; the fitted one serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mlcore.errors import UseCaseError
from mlcore.policy.naming import feature_names, generated_names, generated_types, monomials
from mlcore.policy.training import Candidate, FeatureStep
from mlcore.training.estimators import gains_from_sparse, make_estimator, takes_missing

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
        sparse_fit=candidate.one_hot and gains_from_sparse(estimator),
    )
    return Pipeline([("features", features), ("preparation", preparation), ("estimator", estimator)])


def model_features(usecase: UseCase) -> ModelFeatures:
    """Return the unfitted first step of every pipeline of the use case."""
    from mlcore.training.features import ModelFeatures

    contract, policy = usecase.contract, usecase.training
    feature_names(policy, contract)
    # A raw timestamp is a number that only ever grows: a model that sees it learns the row's age, not the world.
    raw = [c.name for c in contract.features if c.name not in policy.exclude and c.type != "timestamp"]
    used = {name for step in policy.features for name in (*step.columns, *step.by)} | set(raw)
    if policy.looks_back:
        used.update(_identity(usecase))
    return ModelFeatures(
        columns=[
            [column.name, column.type, list(column.categories) if column.categories else None]
            for column in (*contract.inputs, contract.target)
            if column.name in used
        ],
        raw=raw,
        steps=[_plain(step, usecase) for step in policy.features],
    )


def _plain(step: FeatureStep, usecase: UseCase) -> dict[str, Any]:
    contract = usecase.contract
    factors: list[list[str]] = []
    if step.kind == "product":
        factors = [list(step.columns)]
    elif step.kind == "polynomial":
        factors = [list(monomial) for monomial in monomials(step.columns, step.degree)]
    plain: dict[str, Any] = {
        "kind": step.kind,
        "columns": list(step.columns),
        "parts": list(step.parts),
        "count": step.count,
        "monomials": factors,
        "names": list(generated_names(step, contract)),
    }
    if step.kind == "own":
        if not step.code:
            raise UseCaseError(
                "own functions are in the use case's folder",
                subject=usecase.name,
                expected="a use case that `load_usecase` read",
                got="one without a folder",
            )
        plain |= {"function": step.function, "code": step.code}
    if step.looks_back:
        assert contract.time is not None
        plain |= {
            "after": int(step.after.total_seconds()),
            "window": int(step.window.total_seconds()) if step.window else 0,
            "by": list(step.by),
            "statistics": list(step.statistics),
            "time": contract.time.name,
            "identity": _identity(usecase),
            "target": contract.target.name,
        }
    return plain


def _identity(usecase: UseCase) -> list[str]:
    """Return the columns in which a row that is given twice is equal, the time first."""
    contract = usecase.contract
    assert contract.time is not None
    keys = [column.name for column in contract.inputs if column.role == "key"]
    # without keys, a group has one row at a time
    groups = [name for step in usecase.training.features for name in step.by]
    return list(dict.fromkeys([contract.time.name, *(keys or groups)]))


def discrete_names(usecase: UseCase) -> frozenset[str]:
    """Return the features that are categories or have few values, so that one column each is useful."""
    from mlcore.training.generators import DISCRETE_PARTS

    contract = usecase.contract
    names = {column.name for column in contract.features if column.type in ("category", "text")}
    for step in usecase.training.features:
        made = generated_names(step, contract)
        if step.kind in ("cross", "bins"):
            names.update(made)
        elif step.kind == "lag":
            kinds = generated_types(step, contract)
            names.update(name for name, kind in zip(made, kinds, strict=True) if kind in ("category", "text"))
        elif step.kind == "calendar":
            parts = [part for _ in step.columns for part in step.parts]
            names.update(name for name, part in zip(made, parts, strict=True) if part in DISCRETE_PARTS)
    return frozenset(names)
