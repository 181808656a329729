"""What is trained: generated features, candidate algorithms, search and split."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final, Literal

from pydantic import Field, field_validator

from mlcore.contract import Frozen, Name

_CENTURY: Final = timedelta(days=36525)


class FeatureStep(Frozen):
    """One generated feature, or a family of them, computed inside the fitted pipeline.

    ``calendar`` makes `parts` of a timestamp; ``cyclic`` sine and cosine of those parts; ``ratio`` the first
    column over the second; ``product`` the product of the columns; ``cross`` the combination of columns as
    one category; ``bins`` `count` quantile bins; ``polynomial`` all monomials up to `degree`; ``frequency`` the
    share of the training rows that have the row's value, 0 for a value never seen.

    Two kinds look back in time, at rows that are strictly earlier and have the same values in `by`, and need a time
    column. ``lag`` is the last known value at or before `after` ago; ``rolling`` are `statistics` of the known values
    in the `window` that ended `after` ago, its end not included. They may look at the target too, if `after` is above
    zero and at least `training.search.gap`: before that it is not known. A model keeps as much of its training data
    as rows that follow it need; callers that come later send what happened since with ``POST /predict`` as
    ``history``. Only contract columns are looked back at, not generated ones.

    ``own`` calls the `function` of ``features.py`` in the use case's folder. It takes a mapping of column name to
    numpy array (numbers and booleans as float64 with NaN, categories and text as objects with None, timestamps as
    datetime64) and returns one number a row, from that row alone: this is checked when a model is fitted. A model keeps
    the function's name and the file's digest, never the code. After a change of ``features.py``, keep the earlier
    version beside it, as ``features_before.py`` for example, for as long as models trained with it are used.
    """

    kind: Literal[
        "calendar", "cyclic", "ratio", "product", "cross", "bins", "polynomial", "frequency", "lag", "rolling", "own"
    ] = Field(
        description="What is computed: parts of a timestamp, their sine and cosine, a ratio, a product, a combined "
        "category, quantile bins, all monomials, how frequent a value is, an earlier value, statistics of earlier "
        "values, or what an own function returns."
    )
    columns: tuple[Name, ...] = Field(min_length=1, description="Columns, or features generated before, to start from.")
    parts: tuple[Literal["hour", "weekday", "day", "day_of_year", "week", "month", "quarter", "is_weekend"], ...] = (
        Field(default=(), description="For `calendar` and `cyclic`: the parts to make.")
    )
    count: int = Field(default=5, ge=2, le=100, description="For `bins`: how many.")
    degree: int = Field(default=2, ge=2, le=4, description="For `polynomial`: the highest degree.")
    after: timedelta = Field(
        default=timedelta(0),
        ge=timedelta(0),
        le=_CENTURY,
        description="For `lag` and `rolling`: how long ago, in whole seconds; required for `lag`.",
    )
    window: timedelta | None = Field(
        default=None, gt=timedelta(0), le=_CENTURY, description="For `rolling`: its length, in whole seconds."
    )
    by: tuple[Name, ...] = Field(
        default=(), description="For `lag` and `rolling`: look only at rows with the same values in these columns."
    )
    statistics: tuple[Literal["mean", "sum", "std", "min", "max", "count"], ...] = Field(
        default=("mean",),
        min_length=1,
        description="For `rolling`: which; `std` is of the sample, `count` of the known values.",
    )
    function: Name | None = Field(default=None, description="For `own`: its name, and that of the feature.")
    code: str = Field(
        default="",
        description="For `own`: digest of the file that has the function; that of `features.py` is filled in when the "
        "use case is loaded.",
    )

    @property
    def looks_back(self) -> bool:
        """Whether rows get values of earlier rows."""
        return self.kind in ("lag", "rolling")


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
    holdout_longest: timedelta | None = Field(
        default=None,
        gt=timedelta(0),
        description="The held-out rows are of no longer time than this, as long as contract.minimum_rows are: what has "
        "changed is learned from sooner. Empty: the whole share.",
    )
    seed: int = Field(default=0, description="The same seed and data give the same model.")


Weighting = Literal["everything", "window", "season", "recency"]


class RowsPolicy(Frozen):
    """Which of the training rows count, and how much.

    ``everything`` counts all rows alike; ``window`` the newest alone; ``recency`` a row half as much for each
    `half_life` of its age; ``season`` most those of the same time of the year as the newest, in whatever year, and the
    others a twentieth, which takes more than a year of rows to mean anything. What is searched for is searched with all
    rows; then, of several choices, each algorithm's best parameters are fitted with each on the newest fold, and the
    pair that does best on the fold's validation rows, the newest labelled rows but those held out for the gate, is
    taken. What an algorithm that takes no weights cannot do is left out. All but ``everything`` need a time column.
    """

    choices: tuple[Weighting, ...] = Field(
        default=("everything",), min_length=1, description="One to be used, or several to be chosen from."
    )
    window: timedelta = Field(
        default=timedelta(days=180), gt=timedelta(0), description="For `window`: how old a row may be."
    )
    half_life: timedelta = Field(
        default=timedelta(days=90), gt=timedelta(0), description="For `recency`: the age at which a row counts half."
    )


class TrainingPolicy(Frozen):
    """Everything that `train` obeys."""

    features: tuple[FeatureStep, ...] = Field(default=(), description="Features to generate, in this order.")
    exclude: tuple[Name, ...] = Field(default=(), description="Columns no model may use.")
    candidates: tuple[Candidate, ...] = Field(min_length=1, description="Algorithms to choose from.")
    search: SearchPolicy = Field(default=SearchPolicy(), description="How the candidates are compared.")
    rows: RowsPolicy = Field(default=RowsPolicy(), description="Which rows count, and how much.")

    @field_validator("candidates")
    @classmethod
    def _named_apart(cls, candidates: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
        names = [candidate.name for candidate in candidates]
        twice = sorted({name for name in names if names.count(name) > 1})
        if "dummy" in names:
            raise ValueError("the name 'dummy' is the baseline's; give the candidate another")
        if twice:
            raise ValueError(f"every candidate needs a name of its own, not twice {', '.join(twice)}")
        return candidates

    @property
    def looks_back(self) -> bool:
        """Whether an answer depends on earlier rows."""
        return any(step.looks_back for step in self.features)
