"""Which estimators a use case may name, and making one from its path and parameters."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

from mlcore.contract import Task
from mlcore.errors import UseCaseError

#: Only these modules are imported for a use case; all of their models are kept by skops without running code.
ALLOWED_MODULES: Final = frozenset(
    {
        "sklearn.calibration",
        "sklearn.discriminant_analysis",
        "sklearn.dummy",
        "sklearn.ensemble",
        "sklearn.linear_model",
        "sklearn.naive_bayes",
        "sklearn.neighbors",
        "sklearn.neural_network",
        "sklearn.svm",
        "sklearn.tree",
    }
)
#: Only these gain from threads; elsewhere ``n_jobs`` is without effect or starts processes.
_THREADED_MODULES: Final = frozenset({"sklearn.ensemble", "sklearn.neighbors"})
#: Minimise the same loss by the same steps whether the matrix is sparse or not. Others that take sparse matrices, such
#: as Ridge, take them to another solver.
_SPARSE_ALIKE: Final = frozenset({"LogisticRegression", "GammaRegressor", "PoissonRegressor", "TweedieRegressor"})


def estimator_class(path: str, task: Task) -> type[Any]:
    """Import the estimator at `path`.

    Raises
    ------
    UseCaseError
        If the module is not allowed, has no such class, or the class is not an estimator for `task`.
    """
    module_name, _, class_name = path.rpartition(".")
    if module_name not in ALLOWED_MODULES:
        raise _refusal(path, f"a class of {', '.join(sorted(ALLOWED_MODULES))}", module_name or path)
    module = importlib.import_module(module_name)
    found = getattr(module, class_name, None)
    if not isinstance(found, type) or class_name.startswith("_"):
        kind = "Regressor" if task == "regression" else "Classifier"
        choices = [name for name in dir(module) if kind in name]
        raise _refusal(path, f"one of {', '.join(sorted(choices)[:12])}", class_name)
    mixin = "RegressorMixin" if task == "regression" else "ClassifierMixin"
    if mixin not in {base.__name__ for base in found.__mro__}:
        raise _refusal(path, f"an estimator for {task}", class_name)
    return found


def make_estimator(path: str, parameters: Mapping[str, Any], task: Task, *, seed: int, threads: int = 1) -> Any:
    """Return the unfitted estimator at `path`; `seed` and `threads` are set where it has such parameters.

    Raises
    ------
    UseCaseError
        If it has no such parameter, with the nearest ones that it has.

    Examples
    --------
    >>> make_estimator("sklearn.linear_model.Ridge", {"alpha": 2.0}, "regression", seed=7)
    Ridge(alpha=2.0, random_state=7)
    """
    found = estimator_class(path, task)
    known = _parameter_names(found)
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        import difflib

        near = difflib.get_close_matches(unknown[0], known, n=5, cutoff=0.4) or sorted(known)
        raise _refusal(f"{path}: {unknown[0]}", f"a parameter such as {', '.join(near)}", unknown[0])
    given = dict(parameters)
    if "random_state" in known:
        given.setdefault("random_state", seed)
    if "n_jobs" in known and path.rpartition(".")[0] in _THREADED_MODULES:
        given.setdefault("n_jobs", threads)
    return found(**given)


def _parameter_names(found: type[Any]) -> list[str]:
    return list(found._get_param_names())


def takes_missing(estimator: Any) -> bool:
    """Whether the estimator accepts NaN in its input."""
    from sklearn.utils import get_tags

    return bool(get_tags(estimator).input_tags.allow_nan)


def gains_from_sparse(estimator: Any) -> bool:
    """Whether the estimator is fitted faster on a sparse matrix, to the same model but for rounding."""
    return type(estimator).__name__ in _SPARSE_ALIKE


def _refusal(subject: str, expected: str, got: str) -> UseCaseError:
    return UseCaseError(
        "not an estimator that can be used",
        subject=f"training.candidates: {subject}",
        expected=expected,
        got=got,
        remedy="docs/usecase.md lists the allowed modules.",
    )
