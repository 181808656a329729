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

    kind: Literal["calendar", "cyclic", "ratio", "product", "cross", "bins", "polynomial"] = Field(
        description="What is computed: parts of a timestamp, their sine and cosine, a ratio, a product, a combined "
        "category, quantile bins, or all monomials."
    )
    columns: tuple[Name, ...] = Field(min_length=1, description="Columns, or features generated before, to start from.")
    parts: tuple[Literal["hour", "weekday", "day", "day_of_year", "week", "month", "quarter", "is_weekend"], ...] = (
        Field(default=(), description="For `calendar` and `cyclic`: the parts to make.")
    )
    count: int = Field(default=5, ge=2, le=100, description="For `bins`: how many.")
    degree: int = Field(default=2, ge=2, le=4, description="For `polynomial`: the highest degree.")


class Candidate(Frozen):
    """One algorithm with the parameters to search over."""

    name: Name = Field(description="Name of the algorithm in tables and reports.")
    estimator: str = Field(description="Import path of an allowed estimator, for example sklearn.linear_model.Ridge.")
    parameters: dict[str, Any] = Field(default_factory=dict, description="Fixed parameters.")
    search: dict[str, tuple[Any, ...]] = Field(default_factory=dict, description="Values to try for each parameter.")
    scale: bool = Field(default=False, description="Standardise numeric inputs (linear models, neighbours).")
    one_hot: bool = Field(default=False, description="One-hot instead of ordinal encoding of categories.")


class SearchPolicy(Frozen):
    """The budget and the split that candidates are compared on."""

    metric: str = Field(default="", description="Empty: MAE for regression, log loss for classification.")
    folds: int = Field(default=3, ge=1, le=20, description="Validation folds, each later than what it is trained on.")
    gap: timedelta = Field(default=timedelta(0), description="Left out between train and validation: label delay.")
    trials: int = Field(default=20, ge=1, description="Most parameter sets tried over all candidates.")
    seconds: float = Field(default=120.0, gt=0, description="No trial is begun after this time.")
    holdout_fraction: float = Field(
        default=0.15, gt=0, lt=0.5, description="Newest share of the rows (random without a time column)."
    )
    seed: int = Field(default=0, description="The same seed and data give the same model.")


class TrainingPolicy(Frozen):
    """Everything that `train` obeys."""

    features: tuple[FeatureStep, ...] = Field(default=(), description="Features to generate, in this order.")
    exclude: tuple[Name, ...] = Field(default=(), description="Columns no model may use.")
    candidates: tuple[Candidate, ...] = Field(min_length=1, description="Algorithms to choose from.")
    search: SearchPolicy = Field(default=SearchPolicy(), description="How the candidates are compared.")
