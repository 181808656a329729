"""Writing a use case from a file: a first draft that works, for a person to correct."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

from mlcore.data.dependence import block_length
from mlcore.data.ingest import plain_name, read_raw
from mlcore.errors import IngestError, UseCaseError

if TYPE_CHECKING:
    import pandas as pd

_MOST_CATEGORIES: Final = 30
_LEAST_WINDOW_ROWS: Final = 60
_HEADER: Final = """\
# yaml-language-server: $schema=../usecase.schema.json
# A first draft, made by `mlops init` from {source}.
# Look at: types, ranges, units, descriptions; what may be missing; who approves; when it retrains.
# Every key is explained in docs/usecase.md.
"""


def infer_usecase(source: str, *, name: str, target: str, time: str | None, owner: str) -> dict[str, Any]:
    """Look at a file and return a use case for it, as plain values of usecase.yaml.

    Columns get plain names (lower case, digits, underscores); files may keep theirs. Ranges are those of the data,
    widened by half of their span; what is missing now may be missing to twice that share.

    Raises
    ------
    IngestError
        If the file cannot be read, or has no such target or time column.
    UseCaseError
        If the name cannot be used, or two columns would have one name.
    """
    frame = _typed(read_raw(source).to_pandas())
    for wanted in filter(None, (target, time)):
        if wanted not in frame.columns:
            raise IngestError("no such column", subject=source, expected=wanted, got=", ".join(frame.columns[:20]))
    names = [plain_name(str(column)) for column in frame.columns]
    repeated = sorted({column for column in names if names.count(column) > 1})
    if repeated:
        alike = [str(column) for column in frame.columns if plain_name(str(column)) in repeated]
        raise UseCaseError(
            "columns would have one name", subject=source, got=", ".join(alike), remedy="Rename them apart in the file."
        )
    frame.columns = names
    target, time = plain_name(target), plain_name(time) if time else None
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise UseCaseError("this name cannot be used", expected="lower case letters, digits, underscores", got=name)
    if time is None:
        stamps = [column for column in frame.columns if str(frame[column].dtype).startswith("datetime")]
        time = stamps[0] if len(stamps) == 1 else None
    columns = [_column(frame[column], column, target, time) for column in frame.columns]
    features = frame[[column["name"] for column in columns if "role" not in column]]
    cadence = _cadence(frame, time)
    task = (
        "regression"
        if columns[list(frame.columns).index(target)]["type"] in ("integer", "number")
        else "classification"
    )
    if task == "regression" and frame[target].nunique() <= 2:
        task = "classification"
    return {
        "format": 1,
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "description": f"Predicts {target}.",
        "owner": {"name": owner.partition("@")[0], "email": owner},
        "contract": {"task": task, "columns": columns, "minimum_rows": max(1, min(100, len(frame) // 10))},
        "training": {
            "features": [{"kind": "calendar", "columns": [time], "parts": ["hour", "weekday", "month"]}]
            if time
            else [],
            "candidates": _candidates(task),
            "search": {"folds": 3, "trials": 8, "seconds": 60, "holdout_fraction": 0.2},
        },
        "validation": {"block": "P1D"} if time else {},
        "approval": {"required": "by_cause", "causes": ["drift"], "approvers": [owner]},
        "monitoring": {
            "windows": [{**cadence, "checks": ["quality", "drift", "performance"], "label_wait": "P7D"}],
            **_drift(features, frame.get(time), cadence["period"]),
        },
        "retraining": {"cooldown": "P1D", "budget": 4, "budget_period": "P30D"},
    }


def _cadence(frame: pd.DataFrame, time: str | None) -> dict[str, str]:
    """Return weeks, or months where a usual week has too few rows to be judged."""
    if time is not None and str(frame[time].dtype).startswith("datetime"):
        days = max(1.0, (frame[time].max() - frame[time].min()).total_seconds() / 86_400)
        if len(frame) / days * 7 < _LEAST_WINDOW_ROWS:
            return {"name": "monthly", "period": "month"}
    return {"name": "weekly", "period": "week"}


def _drift(features: pd.DataFrame, times: pd.Series | None, period: str) -> dict[str, Any]:
    """Return how long rows depend on each other, as far as windows leave several blocks, where they do."""
    if times is None or not str(times.dtype).startswith("datetime"):
        return {}
    length = block_length(features, times, timedelta(days=7 if period == "month" else 1))
    return {} if length is None else {"drift": {"block": TypeAdapter(timedelta).dump_python(length, mode="json")}}


def write_usecase(values: dict[str, Any], folder: Path, source: str) -> Path:
    """Write ``usecase.yaml`` into a new folder and return its path.

    Raises
    ------
    UseCaseError
        If there is one already, or the draft would not load.
    """
    import yaml

    from mlcore.usecase import FILE_NAME, parse_usecase

    path = folder / FILE_NAME
    if path.exists():
        raise UseCaseError("there is a use case already", subject=str(path), remedy="Choose another name.")
    parse_usecase(values, source=str(path))
    folder.mkdir(parents=True, exist_ok=True)
    body = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
    path.write_text(_HEADER.format(source=Path(source).name) + body, encoding="utf-8")
    return path


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return text columns as what they hold: times, whole numbers, numbers, truth values, or text."""
    import pandas as pd

    for name in frame.columns:
        column = frame[name]
        if column.dtype != object:
            continue
        present = column.dropna().astype(str)
        lowered = set(present.str.lower().unique()[:3])
        if lowered and lowered <= {"true", "false"}:
            frame[name] = column.map(lambda value: None if value is None else str(value).lower() == "true").astype(
                "boolean"
            )
            continue
        numbers = pd.to_numeric(present, errors="coerce")
        if len(present) and numbers.notna().all():
            frame[name] = pd.to_numeric(column)
            continue
        stamps = pd.to_datetime(present, errors="coerce", utc=True, format="ISO8601")
        if len(present) and stamps.notna().all():
            frame[name] = pd.to_datetime(column, utc=True, format="ISO8601")
    return frame


def _column(column: pd.Series, name: str, target: str, time: str | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": name, "type": _type(column)}
    if name in (target, time):
        facts["role"] = "target" if name == target else "time"
    elif facts["type"] in ("timestamp", "text"):
        facts["role"] = "metadata"
    missing = float(column.isna().mean())
    if missing and name != time:
        # upwards: one missing cell in a million is a share, too
        facts["maximum_missing_fraction"] = min(1.0, math.ceil(2 * missing * 10_000) / 10_000)
    if facts["type"] in ("integer", "number") and column.notna().any():
        low, high = float(column.min()), float(column.max())
        reach = (high - low) / 2
        # to three digits of the span, whatever the column's scale is
        digits = 2 - math.floor(math.log10(reach)) if reach else 15
        facts["minimum"] = round(low - reach, digits) if low < 0 else max(0.0, round(low - reach, digits))
        facts["maximum"] = round(high + reach, digits)
    if facts["type"] == "category":
        facts["categories"] = sorted(map(str, column.dropna().unique()))
    return facts


def _type(column: pd.Series) -> str:
    kind = column.dtype.kind
    if str(column.dtype) == "boolean" or kind == "b":
        return "boolean"
    if kind in "iu":
        return "integer"
    if kind == "f":
        present = column.dropna()
        return "integer" if len(present) and (present % 1 == 0).all() else "number"
    if kind == "M":
        return "timestamp"
    return "category" if column.nunique() <= _MOST_CATEGORIES else "text"


def _candidates(task: str) -> list[dict[str, Any]]:
    boosting, linear = (
        ("sklearn.ensemble.HistGradientBoostingRegressor", "sklearn.linear_model.Ridge")
        if task == "regression"
        else ("sklearn.ensemble.HistGradientBoostingClassifier", "sklearn.linear_model.LogisticRegression")
    )
    return [
        {"name": "gradient_boosting", "estimator": boosting, "search": {"learning_rate": [0.05, 0.1]}},
        {"name": "linear", "estimator": linear, "scale": True, "one_hot": True},
    ]
