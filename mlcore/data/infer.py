"""Writing a use case from a file: a first draft that works, for a person to correct."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

from mlcore.data.cadence import draft_window
from mlcore.data.clock import find_clock
from mlcore.data.dependence import block_length
from mlcore.data.ingest import plain_name, read_raw
from mlcore.data.stamps import format_of, parse
from mlcore.errors import IngestError, UseCaseError

if TYPE_CHECKING:
    import pandas as pd

_MOST_CATEGORIES: Final = 30
#: Larger floats have no digit for a one.
_LARGEST_EXACT: Final = 2.0**53
#: A column that only ever grows with time, over more values than this, counts rows or days.
_RUNNING: Final = 10
_LEAST_ROWS: Final = 30
#: By another zone's clock some hours are of another day.
_SAME_DAY: Final = 0.5
_HEADER: Final = """\
# yaml-language-server: $schema=../usecase.schema.json
# A first draft, made by `mlops init` from {source}.
# Look at: types, ranges, units, descriptions; what may be missing; who approves; when it retrains.
# Every key is explained in docs/usecase.md.
"""


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
    names = [plain_name(str(column)) for column in frame.columns]
    repeated = sorted({column for column in names if names.count(column) > 1})
    if repeated:
        alike = [str(column) for column in frame.columns if plain_name(str(column)) in repeated]
        raise UseCaseError(
            "columns would have one name", subject=source, got=", ".join(alike), remedy="Rename them apart in the file."
        )
    frame.columns = names
    target = plain_name(target)
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise UseCaseError("this name cannot be used", expected="lower case letters, digits, underscores", got=name)
    written = frame
    frame, formats = _typed(frame.copy())
    named = [plain_name(part) for part in time.split(",")] if time else []
    clock = find_clock(frame, written, formats, target, named, source)
    at = clock.name if clock else None
    if clock is not None:
        frame = frame.drop(columns=list(clock.made_of)).assign(**{clock.name: clock.times})
        formats[clock.name] = clock.format
        # the order in which rows arrive is the one in which a running number runs
        frame = frame.sort_values(clock.name, kind="stable", ignore_index=True)
    window = draft_window(frame[at] if at else None)
    columns = [_column(frame[column], column, target, frame[at] if at else None) for column in frame.columns]
    for facts in columns:
        if at and "maximum_missing_fraction" in facts:
            facts["maximum_missing_fraction"] = _missing(frame[facts["name"]], window.numbers(frame[at]))
        if facts["type"] == "timestamp" and formats.get(facts["name"]):
            facts["format"] = formats[facts["name"]]
        if clock is not None and facts["name"] == at and clock.made_of:
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
    return {
        "format": 1,
        "name": name,
        "title": name.replace("_", " ").capitalize(),
        "description": f"Predicts {target}.",
        "owner": {"name": owner.partition("@")[0], "email": owner},
        "contract": {"task": task, "columns": columns, "minimum_rows": max(1, min(100, len(frame) // 10))},
        **_kept(frame, at),
        "training": {
            "features": [{"kind": "calendar", "columns": [at], "parts": _calendar(frame[at])}] if at else [],
            "candidates": _candidates(task),
            "search": {"folds": 3, "trials": 8, "seconds": 60, "holdout_fraction": 0.2},
        },
        "validation": {"block": "P1D"} if at else {},
        "approval": {"required": "by_cause", "causes": ["drift"], "approvers": [owner]},
        "monitoring": {
            "windows": [window.to_rule()],
            **_drift(features, frame[at] if at else None, window.period),
        },
        "retraining": window.to_retraining(),
    }


def _calendar(times: pd.Series) -> list[str]:
    """Return the parts of the calendar that vary: a date without a clock has no hour."""
    parts = {"hour": times.dt.hour, "weekday": times.dt.weekday, "month": times.dt.month}
    return [name for name, values in parts.items() if values.nunique() > 1] or ["month"]


def _kept(frame: pd.DataFrame, at: str | None) -> dict[str, Any]:
    """Keep the rows that share a time: without a key the time tells rows apart, and all but one would be dropped."""
    several = at is not None and frame.drop_duplicates()[at].duplicated().any()
    return {"cleaning": {"key_duplicates": "keep"}} if several else {}


def _drift(features: pd.DataFrame, times: pd.Series | None, period: str) -> dict[str, Any]:
    """Return how long rows depend on each other, as far as windows leave several blocks, where they do."""
    if times is None:
        return {}
    longest = {"month": timedelta(days=7), "week": timedelta(days=1), "day": timedelta(hours=1)}
    length = block_length(features, times, longest.get(period, timedelta(0)))
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


def _typed(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return text columns as what they hold: times, whole numbers, numbers, truth values, or text.

    With the times comes how each column writes them.
    """
    import pandas as pd

    formats: dict[str, str] = {}
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
        written = format_of(present) if len(present) else None
        if written is not None:
            formats[name] = written
            frame[name] = parse(column, written)
    return frame, formats


def _column(column: pd.Series, name: str, target: str, times: pd.Series | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": name, "type": _type(column)}
    time = times.name if times is not None else None
    why = _no_feature(column, name, times)
    if name in (target, time):
        facts["role"] = "target" if name == target else "time"
    elif facts["type"] in ("timestamp", "text"):
        facts["role"] = "metadata"
    elif why:
        facts |= {"role": "metadata", "description": why}
    missing = float(column.isna().mean())
    if missing and name != time:
        # upwards: one missing cell in a million is a share, too
        facts["maximum_missing_fraction"] = min(1.0, math.ceil(2 * missing * 10_000) / 10_000)
    if facts["type"] in ("integer", "number") and column.notna().any():
        facts |= _range(column)
    if facts["type"] == "category":
        facts["categories"] = sorted(map(str, column.dropna().unique()))
    return facts


def _range(column: pd.Series) -> dict[str, float]:
    """Return the range of the finite values, widened by half of their span; nothing where floats end before."""
    import numpy as np

    present = column.dropna().to_numpy(dtype=float)
    present = present[np.isfinite(present)]
    if not len(present):
        return {}
    low, high = float(present.min()), float(present.max())
    reach = high / 2 - low / 2
    if not math.isfinite(high + reach) or not math.isfinite(low - reach):
        return {}
    # to three digits of the span, whatever the column's scale is
    digits = 2 - math.floor(math.log10(reach)) if reach else 15
    minimum = round(low - reach, digits) if low < 0 else max(0.0, round(low - reach, digits))
    return {"minimum": minimum, "maximum": round(high + reach, digits)}


def _missing(column: pd.Series, windows: Any) -> float:
    """Return the share of missing cells that a sound window may have: they come in clusters, and a few by chance.

    Twice the share p of all rows with three standard errors of it in a usual window of n rows,
    2p + 3 sqrt(2p / n), or what one window of 20 exceeds; and always two cells.
    """
    missing = column.isna()
    by_window = missing.groupby(windows)
    twice, rows = 2 * float(missing.mean()), float(by_window.size().median())
    usual = max(twice + 3 * math.sqrt(twice / rows), float(by_window.mean().quantile(0.95)), 2 / rows)
    return min(1.0, math.ceil(usual * 10_000) / 10_000)


def _no_feature(column: pd.Series, name: str, times: pd.Series | None) -> str:
    """Return why a column, in the order of time, tells a model nothing of rows to come; empty where it may."""
    import numpy as np

    if column.isna().all():
        return "Without any value."
    if column.dtype.kind not in "iuf" or len(column) < _LEAST_ROWS:
        return ""
    present = column.dropna().to_numpy(dtype=float)
    if times is not None and np.array_equal(column, times.dt.year):
        return "The year of the time: none that comes was ever trained on."
    counts = len(np.unique(present))
    if times is not None and counts > 1 and (column == times.dt.day).mean() >= _SAME_DAY:
        return "The day of the time: a window of a week sees a few of them."
    steps = np.diff(present)
    if (
        counts > _RUNNING
        and ((steps >= 0).all() or (steps <= 0).all())
        and (counts == len(present) or times is not None)
    ):
        return "A running number: it only moves on with the rows."
    if (
        counts == len(present)
        and (present % 1 == 0).all()
        and re.search(r"(^|_)(id|no|nr|number|index|row)(_|$)|id$", name)
    ):
        return "A number of its own for each row."
    return ""


def _type(column: pd.Series) -> str:
    if column.isna().all():
        return "text"
    kind = column.dtype.kind
    if str(column.dtype) == "boolean" or kind == "b":
        return "boolean"
    if kind in "iu":
        return "integer"
    if kind == "f":
        present = column.dropna()
        whole = len(present) > 0 and bool(((present % 1 == 0) & (present.abs() <= _LARGEST_EXACT)).all())
        return "integer" if whole else "number"
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
