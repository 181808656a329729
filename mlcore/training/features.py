"""The first step of every model: a DataFrame of contract columns in, one number per feature and row out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from mlcore.errors import ContractError
from mlcore.owncode import own_function
from mlcore.training import generators
from mlcore.training.own import check_row_wise, own_feature
from mlcore.training.past import PAST_KINDS, Past, Rows, identity_of

if TYPE_CHECKING:
    import pandas as pd

Array = np.ndarray[Any, Any]

#: Code of a category that is missing, or that training never saw.
UNKNOWN: Final = -1.0
#: A column keeps a code for at most this many categories, the most frequent; the others are unknown.
MAXIMUM_CATEGORIES: Final = 200
#: Estimators that work in float32 take nothing larger.
LARGEST: Final = 3e38


class ModelFeatures(TransformerMixin, BaseEstimator):
    """Takes the columns a model may see and makes the generated features.

    Categories become codes 0, 1, … in the contract's order (or alphabetical), -1 where they are missing or
    were never seen; booleans 0 and 1; missing and infinite numbers NaN. Keys and raw timestamps never leave.
    Nothing about the target is used, but by steps that look back at what it was in earlier rows.

    Such steps look at the rows of the frame, at those of a given history, and at the newest rows of training; a row
    that is in more than one of them counts once.

    Parameters
    ----------
    columns : list of [name, type, categories or None]
        The columns to read.
    raw : list of str
        Those of them that go to the model as they are.
    steps : list of dict
        ``{"kind", "columns", "parts", "count", "monomials", "names"}`` of each generated feature; those that look
        back have also ``{"after", "window", "by", "statistics", "time", "identity", "target"}``, own ones
        ``{"function", "code"}``.

    Attributes
    ----------
    categories_ : dict of str to list of str
        Known values of each category feature, in code order.
    edges_ : dict of str to ndarray
        Inner bin edges of each binned column.
    shares_ : dict of str to [ndarray, ndarray]
        Known values of each column with a frequency, and the share of the rows that have each.
    centres_ : dict of str to float
        Mean of each column with rolling statistics.
    history_, history_times_, history_identity_ : dict of str to ndarray, ndarray, ndarray
        The newest rows of training, as far back as later rows look; only with steps that look back.
    """

    def __init__(self, columns: list[list[Any]], raw: list[str], steps: list[dict[str, Any]]) -> None:
        self.columns = columns
        self.raw = raw
        self.steps = steps

    def fit(self, frame: pd.DataFrame, target: object = None) -> Self:  # noqa: ARG002 - target-free by design
        """Learn the categories and the bin edges of `frame`."""
        self.edges_: dict[str, Array] = {}
        self.categories_: dict[str, list[str]] = {}
        self.shares_: dict[str, list[Array]] = {}
        self.centres_: dict[str, float] = {}
        values = self._read(frame)
        past = self._remember(self._rows(frame, values)) if self.looks_back else None
        declared = {name: categories for name, _, categories in self.columns}
        for step in self.steps:
            if step["kind"] == "bins":
                for column in step["columns"]:
                    self.edges_[column] = generators.quantile_edges(values[column], step["count"])
            elif step["kind"] == "frequency":
                self.shares_ |= {column: list(generators.shares(values[column])) for column in step["columns"]}
            elif step["kind"] == "rolling":
                for column in step["columns"]:
                    present = values[column][np.isfinite(values[column])]
                    self.centres_[column] = float(present.mean()) if len(present) else 0.0
            elif step["kind"] == "lag":
                declared |= {
                    name: declared[column] for column, name in zip(step["columns"], step["names"], strict=True)
                }
            self._generate(step, values, past)
            if step["kind"] == "own":
                columns = {name: values[name] for name in step["columns"]}
                check_row_wise(step["code"], step["function"], columns, values[step["function"]])
        for name in self.get_feature_names_out():
            if values[name].dtype == object:
                self.categories_[name] = list(declared.get(name) or _most_frequent(values[name]))
        return self

    @property
    def looks_back(self) -> bool:
        """Whether rows get values of earlier rows."""
        return bool(self._back())

    def require_code(self) -> None:
        """Find every own function.

        Raises
        ------
        OwnCodeError
            If the code that the model was trained with is not there.
        """
        for step in self.steps:
            if step["kind"] == "own":
                own_function(step["code"], step["function"])

    def transform(self, frame: pd.DataFrame, history: pd.DataFrame | None = None) -> Array:
        """Return the features of `frame`, shape (n_rows, n_features), float64.

        Parameters
        ----------
        frame : DataFrame
            The columns to read; the target may be absent.
        history : DataFrame, optional
            More rows to look back at. Only rows strictly earlier than a row are looked at for it, so it does no harm
            to give more; columns that are absent are missing values.

        Raises
        ------
        ContractError
            If a column is missing or holds values that are not of its type.
        OwnCodeError
            If the code that the model was trained with is not there, or fails.
        """
        values = self._read(frame)
        past = self._past(values, frame, history) if self.looks_back else None
        for step in self.steps:
            self._generate(step, values, past)
        names = self.get_feature_names_out()
        matrix = np.empty((len(frame), len(names)))
        for position, name in enumerate(names):
            column = values[name]
            matrix[:, position] = _codes(column, self.categories_[name]) if column.dtype == object else column
        matrix[~np.isfinite(matrix)] = np.nan
        return np.clip(matrix, -LARGEST, LARGEST, out=matrix)

    def get_feature_names_out(self, input_features: object = None) -> Array:  # noqa: ARG002 - scikit-learn's signature
        """Return the name of each column of the result."""
        return np.array([*self.raw, *(name for step in self.steps for name in step["names"])], dtype=object)

    def _read(self, frame: pd.DataFrame) -> dict[str, Array]:
        targets = {step["target"] for step in self._back()}
        missing = [name for name, _, _ in self.columns if name not in frame.columns and name not in targets]
        if missing:
            raise ContractError(
                "columns are missing",
                subject=", ".join(missing),
                expected=", ".join(name for name, _, _ in self.columns),
                remedy="Send every input column of the contract; a value may be empty, a column may not.",
            )
        return {name: _read_column(frame, name, kind) for name, kind, _ in self.columns}

    def _back(self) -> list[dict[str, Any]]:
        return [step for step in self.steps if step["kind"] in PAST_KINDS]

    def _rows(self, frame: pd.DataFrame, values: dict[str, Array] | None = None) -> Rows:
        """Return what steps that look back need of the rows of `frame`; `values` are those that are read already."""
        back = self._back()
        time, *keys = back[0]["identity"]
        if time not in frame.columns:
            raise ContractError("a column is missing", subject="history", expected=time, remedy="Send each row's time.")
        kept = dict.fromkeys(name for step in back for name in (*step["columns"], *step["by"]))
        if values is None:
            wanted = {*kept, *keys}
            values = {name: _read_column(frame, name, kind) for name, kind, _ in self.columns if name in wanted}
        times = _read_column(frame, time, "instant")
        return Rows({name: values[name] for name in kept}, times, identity_of([times, *(values[key] for key in keys)]))

    def newest(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of `frame` that rows after them look back at; none where nothing looks back."""
        return frame[self._looked_back_at(Past(self._rows(frame)))] if self.looks_back else frame.iloc[:0]

    def _looked_back_at(self, past: Past) -> Array:
        kept = np.zeros(len(past.times), dtype=bool)
        for step in self._back():
            for column in step["columns"]:
                kept |= past.tail(column, step["by"], step["after"] + step["window"])
        return kept

    def _remember(self, rows: Rows) -> Past:
        """Keep the rows of training that later rows look back at."""
        past = Past(rows)
        newest = rows.take(self._looked_back_at(past))
        self.history_, self.history_times_ = dict(newest.values), newest.times
        self.history_identity_ = newest.identity
        return past

    def _past(self, values: dict[str, Array], frame: pd.DataFrame, history: pd.DataFrame | None) -> Past:
        fitted = Rows(self.history_, self.history_times_, self.history_identity_)
        given = [] if history is None else [self._rows(history)]
        return Past(self._rows(frame, values), *given, fitted)

    def _generate(self, step: dict[str, Any], values: dict[str, Array], past: Past | None) -> None:
        values |= zip(step["names"], self._made(step, values, past), strict=True)

    def _made(self, step: dict[str, Any], values: dict[str, Array], past: Past | None) -> Iterable[Array]:
        kind, columns = step["kind"], [values[name] for name in step["columns"]]
        if past is not None and kind in PAST_KINDS:
            return self._look_back(step, past)
        if kind in ("calendar", "cyclic"):
            return _calendar(kind, columns, step["parts"])
        if kind == "ratio":
            return [generators.ratio(*columns)]
        if kind == "cross":
            return [generators.crossed(columns)]
        if kind == "bins":
            edges = [self.edges_[name] for name in step["columns"]]
            return [generators.bin_of(column, inner) for column, inner in zip(columns, edges, strict=True)]
        if kind == "own":
            return [own_feature(step["code"], step["function"], dict(zip(step["columns"], columns, strict=True)))]
        if kind == "frequency":
            known = [self.shares_[name] for name in step["columns"]]
            return [generators.share_of(column, *pair) for column, pair in zip(columns, known, strict=True)]
        with np.errstate(over="ignore", invalid="ignore"):
            return [np.prod([values[name] for name in factors], axis=0) for factors in step["monomials"]]

    def _look_back(self, step: dict[str, Any], past: Past) -> Iterator[Array]:
        for name in step["columns"]:
            if step["kind"] == "lag":
                yield past.lag(name, step["by"], step["after"])
            else:
                window, centre = (step["window"], step["after"]), self.centres_[name]
                yield from past.rolling(name, step["by"], *window, step["statistics"], centre)


def _calendar(kind: str, columns: list[Array], parts: list[str]) -> Iterator[Array]:
    for column in columns:
        for part in parts:
            made = generators.calendar_part(column, part)
            if kind == "calendar":
                yield made
            else:
                yield from generators.cyclic(part, made)


def _read_column(frame: pd.DataFrame, name: str, kind: str) -> Array:
    if name not in frame.columns:
        is_text = kind in ("category", "text")
        return np.full(len(frame), None, dtype=object) if is_text else np.full(len(frame), np.nan)
    column = frame[name]
    try:
        if kind == "timestamp":
            return _read_times(column, "s")
        if kind == "instant":
            return _read_times(column, "us").astype(np.int64)
        if kind in ("category", "text"):
            values = column.to_numpy(dtype=object, na_value=None)
            if len(values) >= generators.FEW and _is_text(values):
                return values
            return np.array([None if value is None else str(value) for value in values], dtype=object)
        return np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise ContractError(
            "values are not of the column's type",
            subject=str(column.name),
            expected=kind,
            got=str(error)[:120],
            remedy="Send values of the type that the contract gives the column.",
        ) from None


def _is_text(values: Array) -> bool:
    from pandas.api.types import infer_dtype

    return bool(infer_dtype(values, skipna=True) == "string")


def _read_times(column: pd.Series, unit: str) -> Array:
    import pandas as pd

    times = column if isinstance(column.dtype, pd.DatetimeTZDtype) else pd.to_datetime(column, utc=True)
    return times.to_numpy(dtype="datetime64[ns]").astype(f"datetime64[{unit}]")


def _most_frequent(column: Array) -> list[str]:
    import pandas as pd

    codes, values = pd.factorize(column)
    counts = dict(zip(values, np.bincount(codes[codes >= 0], minlength=len(values)).tolist(), strict=True))
    kept = sorted(counts, key=lambda value: (-counts[value], value))[:MAXIMUM_CATEGORIES]
    return sorted(kept)


def _codes(column: Array, categories: list[str]) -> Array:
    if len(column) < generators.FEW:
        code = {category: float(position) for position, category in enumerate(categories)}
        return np.array([code.get(value, UNKNOWN) for value in column], dtype=np.float64)
    import pandas as pd

    found = pd.Index(categories, dtype=object).get_indexer(column)
    return np.where(found < 0, UNKNOWN, found).astype(np.float64)
