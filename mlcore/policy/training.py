"""What is trained: generated features, candidate algorithms, search and split."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from pydantic import Field

from mlcore.contract import Frozen, Name


class FeatureStep(Frozen):
    """One generated feature, or a family of them, computed inside the fitted pipeline.

    ``calendar`` makes `parts` of a timestamp; ``cyclic`` sine and cosine of those parts; ``ratio`` the first
    column over the second; ``product`` the product of the columns; ``cross`` the combination of columns as
    one category; ``bins`` `count` quantile bins; ``polynomial`` all monomials up to `degree`.
    """

    kind: Literal["calendar", "cyclic", "ratio", "product", "cross", "bins", "polynomial"]
    columns: tuple[Name, ...] = Field(min_length=1)
    parts: tuple[Literal["hour", "weekday", "day", "day_of_year", "week", "month", "quarter", "is_weekend"], ...] = (
        Field(default=())
    )
    count: int = Field(default=5, ge=2, le=100)
    degree: int = Field(default=2, ge=2, le=4)


class Candidate(Frozen):
    """One algorithm with the parameters to search over."""

    name: Name
    estimator: str = Field(description="Import path of an allowed estimator, for example sklearn.linear_model.Ridge.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="Fixed parameters.")
    search: dict[str, tuple[Any, ...]] = Field(default_factory=dict, description="Values to try for each parameter.")
    scale: bool = Field(default=False, description="Standardise numeric inputs (linear models, neighbours).")
    one_hot: bool = Field(default=False, description="One-hot instead of ordinal encoding of categories.")


class SearchPolicy(Frozen):
    """The budget and the split that candidates are compared on."""

    metric: str = Field(default="", description="Empty: MAE for regression, log loss for classification.")
    folds: int = Field(default=3, ge=1, le=20)
    gap: timedelta = Field(default=timedelta(0), description="Left out between train and validation: label delay.")
    trials: int = Field(default=20, ge=1)
    seconds: float = Field(default=120.0, gt=0)
    holdout_fraction: float = Field(
        default=0.15, gt=0, lt=0.5, description="Newest share of the rows (random without a time column)."
    )
    seed: int = 0


class TrainingPolicy(Frozen):
    """Everything that `train` obeys."""

    features: tuple[FeatureStep, ...] = Field(default=())
    exclude: tuple[Name, ...] = Field(default=(), description="Columns no model may use.")
    candidates: tuple[Candidate, ...] = Field(min_length=1)
    search: SearchPolicy = SearchPolicy()
