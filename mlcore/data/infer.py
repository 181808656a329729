"""Writing a use case from a file: a first draft that works, for a person to correct."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from mlcore.data.cadence import Window, draft_window
from mlcore.data.clock import find_clock
from mlcore.data.dependence import block_length
from mlcore.data.describe import describe, missing_in_windows, typed, without_sentinels
from mlcore.data.ingest import plain_name, read_raw
from mlcore.errors import IngestError, UseCaseError

if TYPE_CHECKING:
    import pandas as pd


#: Rows that each tree of a forest is grown on, and beyond which nearest neighbours take too long to be found.
_MOST_SAMPLED, _MOST_NEIGHBOURS = 10_000, 20_000
#: Share of labelled rows below which less than the default is asked of a window, and the least that is asked.
_NEARLY_ALL_KNOWN, _LEAST_COVERAGE = 0.9, 0.001
#: Rows that come more often than this on average are cases of one kind, not copies of each other.
_FEWEST_ALIKE = 2
#: Share of the rows that is held out.
_HOLDOUT = 0.2


def infer_usecase(source: str, *, name: str, target: str, time: str | None, owner: str) -> dict[str, Any]:
    """Look at a file and return a use case for it, as plain values of usecase.yaml.

    Columns get plain names (lower case, digits, underscores); files may keep theirs. Ranges are those of the data,
    widened by half of their span; what is missing now may be missing to about twice that share. Running numbers are no
    features. `time` may name several columns, with commas; without it `find_clock` looks.

    Raises
    ------
    IngestError
        If the file cannot be read, or has no such target or time column.
    UseCaseError
        If the name cannot be used, or two columns would have one name.
    """
    frame = read_raw(source).to_pandas()
    for wanted in filter(None, (target, *(time or "").split(","))):
        if wanted not in frame.columns:
            raise IngestError("no such column", subject=source, expected=wanted, got=", ".join(frame.columns[:20]))
    headers = _plain_names(frame, source)
    target = plain_name(target)
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise UseCaseError("this name cannot be used", expected="lower case letters, digits, underscores", got=name)
    written = frame
    frame, formats, absent = typed(frame.copy())
    named = [plain_name(part) for part in time.split(",")] if time else []
    clock = find_clock(frame, written, formats, target, named, source)
    at = clock.name if clock else None
    if clock is not None:
        frame = frame.drop(columns=list(clock.made_of)).assign(**{clock.name: clock.times})
        formats[clock.name] = clock.format
        # the order in which rows arrive is the one in which a running number runs
        frame = frame.sort_values(clock.name, kind="stable", ignore_index=True)
    frame, numbers = without_sentinels(frame, at)
    for column, texts in numbers.items():
        absent[column] = (*absent.get(column, ()), *texts)
    times = frame[at] if at else None
    window = draft_window(times)
    columns = [describe(frame[name], headers.get(name, name), target, times, window.rows) for name in frame.columns]
    for facts in columns:
        column = facts["name"]
        if column in absent:
            facts["missing_as"] = list(absent[column])
        if at and "maximum_missing_fraction" in facts:
            facts["maximum_missing_fraction"] = missing_in_windows(frame[column], window.numbers(frame[at]))
        if facts["type"] == "timestamp" and formats.get(column):
            facts["format"] = formats[column]
        if clock is not None and column == at and clock.made_of:
            facts["made_of"] = list(clock.made_of)
    if not any(facts.get("role", "feature") == "feature" for facts in columns):
        raise UseCaseError(
            "there is nothing to predict from",
            subject=source,
            expected=f"a column besides {target}" + (f" and {at}" if at else "") + " that a model can learn from",
            got=", ".join(f"{facts['name']} ({facts.get('role')})" for facts in columns),
            remedy="Add columns, such as the target's values of the day before.",
        )
    features = frame[[column["name"] for column in columns if "role" not in column]]
    task = (
        "regression"
        if columns[list(frame.columns).index(target)]["type"] in ("integer", "number")
        else "classification"
    )
    if task == "regression" and frame[target].nunique() <= 2:
        task = "classification"
    kept = _kept(frame, at)
    return {
        "format": 1,
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "description": f"Predicts {target}.",
        "owner": {"name": owner.partition("@")[0], "email": owner},
        "contract": {"task": task, "columns": columns, "minimum_rows": max(1, min(100, len(frame) // 10))},
        **({"cleaning": kept} if kept else {}),
        "training": {
            "features": [{"kind": "calendar", "columns": [at], "parts": _calendar(frame[at], window)}] if at else [],
            "candidates": _candidates(task, len(frame)),
            "search": {
                "folds": 3,
                "trials": 8,
                "seconds": 60,
                "holdout_fraction": _HOLDOUT,
                **({"holdout_longest": f"P{window.holdout_days}D"} if at else {}),
            },
        },
        "validation": {**({"block": "P1D"} if at else {}), **_repeats(frame[[*features.columns, target]], kept)},
        "approval": {"required": "by_cause", "causes": ["drift"], "approvers": [owner]},
        "monitoring": {
            "windows": [window.to_rule()],
            **_drift(features, frame[at] if at else None, window.period),
            **_performance(task, float(frame[target].notna().mean())),
        },
        "retraining": window.to_retraining(),
    }


def _plain_names(frame: pd.DataFrame, source: str) -> dict[str, str]:
    """Rename the columns as contracts do, and return what the file calls each.

    Raises
    ------
    UseCaseError
        If two would have one name.
    """
    headers = [str(column) for column in frame.columns]
    names = [plain_name(header) for header in headers]
    alike = [header for header, name in zip(headers, names, strict=True) if names.count(name) > 1]
    if alike:
        raise UseCaseError(
            "columns would have one name", subject=source, got=", ".join(alike), remedy="Rename them apart in the file."
        )
    frame.columns = names
    return dict(zip(names, headers, strict=True))


def _calendar(times: pd.Series, window: Window) -> list[str]:
    """Return the parts of the calendar that vary: a date without a clock has no hour, a day a month no weekday."""
    parts = {"hour": times.dt.hour, "weekday": times.dt.weekday, "month": times.dt.month}
    if window.step_days > 7:
        del parts["weekday"]
    return [name for name, values in parts.items() if values.nunique() > 1] or ["month"]


def _kept(frame: pd.DataFrame, at: str | None) -> dict[str, str]:
    """Keep the rows that share a time: without a key the time tells rows apart, and all but one would be dropped.

    Keep rows that repeat, too, where a row comes more than twice as a rule: those are cases of one kind, such as
    passengers of one class and age, and how many there are is what a model learns from.
    """
    kept = {}
    if len(frame) > _FEWEST_ALIKE * len(different := frame.drop_duplicates()):
        kept["exact_duplicates"] = "keep"
    if at is not None and different[at].duplicated().any():
        kept["key_duplicates"] = "keep"
    return kept


def _repeats(frame: pd.DataFrame, kept: Mapping[str, str]) -> dict[str, Any]:
    """Say how many held-out rows may be among the training rows, where rows repeat by themselves: as many as here.

    A row that comes c times has one or more among the share f of held-out rows with the probability ``1 - (1 - f)^c``,
    and on both sides with ``1 - (1 - f)^c - f^c``; one standard error is left for the luck of a split.
    """
    if "exact_duplicates" not in kept:
        return {}
    counts = frame.value_counts(dropna=False).to_numpy()
    held = 1 - (1 - _HOLDOUT) ** counts
    share = 1 - float((_HOLDOUT**counts).sum() / held.sum())
    limit = share + math.sqrt(share * (1 - share) / held.sum())
    return {"leaks": {"maximum_copies_fraction": min(1.0, math.ceil(100 * limit) / 100)}}


def _drift(features: pd.DataFrame, times: pd.Series | None, period: str) -> dict[str, Any]:
    """Return how long rows depend on each other, as far as windows leave several blocks, where they do."""
    if times is None:
        return {}
    longest = {"month": timedelta(days=7), "week": timedelta(days=1), "day": timedelta(hours=1)}
    length = block_length(features, times, longest.get(period, timedelta(0)))
    return {} if length is None else {"drift": {"block": TypeAdapter(timedelta).dump_python(length, mode="json")}}


def _performance(task: str, known: float) -> dict[str, Any]:
    """Return when a window is harmed, and how many of its rows must have labels, where few of the file's have one."""
    rule = {}
    if task == "classification":
        # a log loss is mostly what nobody can know: a tenth more is much of what a model does know
        rule["maximum_worsening_fraction"] = 0.1
    if known < _NEARLY_ALL_KNOWN:
        rule["minimum_coverage"] = round(max(known / 2, _LEAST_COVERAGE), 3)
    return {"performance": rule} if rule else {}


def _candidates(task: str, rows: int) -> list[dict[str, Any]]:
    """Return one algorithm of each kind that a table may want, small enough to be kept, served and fitted again."""
    kind = "Regressor" if task == "regression" else "Classifier"
    linear = "Ridge" if task == "regression" else "LogisticRegression"
    forest: dict[str, Any] = {"n_estimators": 50, "max_features": 0.5, "max_leaf_nodes": 500}
    if rows > 4 * _MOST_SAMPLED:  # the oldest fold has a quarter of them
        forest["max_samples"] = _MOST_SAMPLED
    found: list[dict[str, Any]] = [
        {
            "name": "gradient_boosting",
            "estimator": f"sklearn.ensemble.HistGradientBoosting{kind}",
            "search": {"learning_rate": [0.05, 0.1]},
        },
        {"name": "linear", "estimator": f"sklearn.linear_model.{linear}", "scale": True, "one_hot": True},
        {"name": "forest", "estimator": f"sklearn.ensemble.RandomForest{kind}", "parameters": forest},
    ]
    if rows <= _MOST_NEIGHBOURS:
        neighbours = {"estimator": f"sklearn.neighbors.KNeighbors{kind}", "parameters": {"n_neighbors": 20}}
        found.append({"name": "neighbours", **neighbours, "scale": True, "one_hot": True})
    return found
