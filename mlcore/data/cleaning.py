"""Cleaning as declared in the use case, each step with a report of what it changed."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from mlcore.contract import DataContract
    from mlcore.policy.cleaning import CleaningPolicy, OutlierRule


@dataclass(frozen=True, slots=True)
class CleaningStep:
    """One step: rows before and after, cells changed, and a sentence."""

    name: str
    rows_before: int
    rows_after: int
    cells_changed: int
    sentence: str


@dataclass(frozen=True, slots=True)
class CleaningResult:
    """The cleaned table and what each step did."""

    table: pa.Table
    steps: tuple[CleaningStep, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the steps as plain values."""
        return {"steps": [asdict(step) for step in self.steps]}


def clean(table: pa.Table, contract: DataContract, policy: CleaningPolicy) -> CleaningResult:
    """Apply the steps of `policy` to a table of `contract`, in the policy's order.

    Imputation is not here: it is part of the fitted pipeline, so that training and serving never disagree.
    """
    import pyarrow as pa

    frame = table.to_pandas()
    steps: list[CleaningStep] = []

    def keep(name: str, mask: pd.Series, what: str) -> None:
        nonlocal frame
        kept = frame[mask]
        dropped = len(frame) - len(kept)
        steps.append(CleaningStep(name, len(frame), len(kept), 0, f"{dropped:,} {what} dropped"))
        frame = kept

    keys = [column.name for column in contract.keys]
    if policy.exact_duplicates == "drop":
        keep("exact_duplicates", ~frame.duplicated(), "repeated rows")
    if policy.key_duplicates != "keep" and keys:
        which = "first" if policy.key_duplicates == "keep_first" else "last"
        keep("key_duplicates", ~frame.duplicated(subset=keys, keep=which), f"rows with the key of a kept one ({which})")
    if policy.missing_target == "drop_row":
        keep("missing_target", frame[contract.target.name].notna(), "rows without a target")
    for name in policy.drop_rows_missing:
        keep(f"missing_{name}", frame[name].notna(), f"rows without {name}")
    for rule in policy.outliers:
        frame, step = _outliers(frame, rule)
        steps.append(step)
    cleaned = pa.Table.from_pandas(frame, schema=contract.arrow_schema(), preserve_index=False)
    return CleaningResult(cleaned.replace_schema_metadata(None), tuple(steps))


def _outliers(frame: pd.DataFrame, rule: OutlierRule) -> tuple[pd.DataFrame, CleaningStep]:
    values = frame[rule.column].astype("float64")
    low, high = values.quantile(0.25), values.quantile(0.75)
    reach = rule.whiskers * (high - low)
    outside = (values < low - reach) | (values > high + reach)
    count, before = int(outside.sum()), len(frame)
    if rule.action == "drop_row":
        frame, changed = frame[~outside], 0
    else:
        bounded = values.clip(low - reach, high + reach) if rule.action == "clip" else values.mask(outside)
        if frame[rule.column].dtype.kind == "i" and rule.action == "clip":
            bounded = bounded.round().astype("int64")
        frame, changed = frame.assign(**{rule.column: bounded}), count
    sentence = f"{count:,} values of {rule.column} outside {low - reach:.4g} to {high + reach:.4g}: {rule.action}"
    return frame, CleaningStep(f"outliers_{rule.column}", before, len(frame), changed, sentence)
