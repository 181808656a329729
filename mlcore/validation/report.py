"""What the gate found, as a value that goes to the ledger and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from mlcore.validation.bootstrap import Interval

FORMAT: Final = 1

Verdict = Literal["promote", "hold", "reject"]
Outcome = Literal["passed", "failed", "not_judged"]


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One metric of both models on the held-out rows.

    Parameters
    ----------
    name : str
    higher_is_better : bool
    challenger, opponent : Interval
        `opponent` is the champion, or the dummy where there is no champion.
    difference : Interval
        Loss of the challenger minus loss of the opponent: negative is better, whatever the metric's direction.
    """

    name: str
    higher_is_better: bool
    challenger: Interval
    opponent: Interval
    difference: Interval


@dataclass(frozen=True, slots=True)
class GuardResult:
    """One condition that must hold.

    Parameters
    ----------
    kind : str
        limit, baseline, guard_metric, slice, fairness, calibration, latency, size, bad_rows, invariance, leak or
        labels.
    name : str
    outcome : {"passed", "failed", "not_judged"}
    sentence : str
    value, limit : float or None
    blocking : bool
        Whether "not_judged" holds the promotion back.
    """

    kind: str
    name: str
    outcome: Outcome
    sentence: str
    value: float | None = None
    limit: float | None = None
    blocking: bool = True


@dataclass(frozen=True, slots=True)
class SliceResult:
    """One slice of the held-out rows.

    Parameters
    ----------
    column, slice : str
    rows : int
    challenger, opponent : float
        The primary metric on the slice.
    difference : Interval or None
        As in `MetricResult`; None where there are too few rows.
    adjusted_p : float or None
        Holm-adjusted probability of so large a worsening if the slice were within its margin.
    """

    column: str
    slice: str
    rows: int
    challenger: float | None
    opponent: float | None
    difference: Interval | None
    adjusted_p: float | None


@dataclass(frozen=True, slots=True)
class WorstRow:
    """A row that the challenger got most wrong; columns that must not be kept in plain are left out."""

    row: Mapping[str, Any]
    truth: Any
    challenger: Any
    opponent: Any
    loss: float


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """Mean prediction against mean truth among the rows of one bin of the prediction."""

    predicted: float
    observed: float
    rows: int


@dataclass(frozen=True, slots=True)
class ResidualPoint:
    """Mean row loss of both models in one stretch of time."""

    starts_at: str
    challenger: float
    opponent: float
    rows: int


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """A challenger, judged.

    Parameters
    ----------
    verdict : {"promote", "hold", "reject"}
    sentence : str
        For a manager: what, by how much, why.
    reasons : tuple of str
        Every single reason against promotion.
    opponent : {"champion", "dummy"}
    metric : str
        The primary metric.
    confidence : float
        One-sided; intervals are two-sided and cover ``2 confidence - 1``.
    rows, units : int
        Held-out rows, and independent units (blocks) among them.
    metrics : tuple of MetricResult
        The primary one first.
    extra_rows : int or None
        Further held-out rows that would decide, if the observed difference is the true one.
    change_fraction : float or None
        How much the challenger changes the champion's answers, as `mlcore.validation.evidence.change_fraction` has it;
        None without a champion.
    """

    verdict: Verdict
    sentence: str
    reasons: tuple[str, ...]
    opponent: Literal["champion", "dummy"]
    metric: str
    confidence: float
    rows: int
    units: int
    metrics: tuple[MetricResult, ...] = ()
    guards: tuple[GuardResult, ...] = ()
    slices: tuple[SliceResult, ...] = ()
    worst_rows: tuple[WorstRow, ...] = ()
    calibration: tuple[CurvePoint, ...] = ()
    residuals: tuple[ResidualPoint, ...] = ()
    extra_rows: int | None = None
    change_fraction: float | None = None

    @property
    def primary(self) -> MetricResult | None:
        """The metric that decided; None where none could be computed."""
        return next((metric for metric in self.metrics if metric.name == self.metric), None)

    @property
    def difference(self) -> Interval | None:
        """The primary metric's difference in loss: negative is better."""
        return self.primary.difference if self.primary else None

    @property
    def failures(self) -> tuple[GuardResult, ...]:
        """Guards that do not hold."""
        return tuple(guard for guard in self.guards if guard.outcome == "failed")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; what is not finite is null."""
        plain: dict[str, Any] = _plain({"format": FORMAT, **asdict(self)})
        return plain

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EvaluationReport:
        """Return what `to_json` wrote."""
        fields = {name: value for name, value in values.items() if name != "format"}
        fields["reasons"] = tuple(fields["reasons"])
        fields["metrics"] = tuple(
            MetricResult(
                **{**item, **{name: _interval(item[name]) for name in ("challenger", "opponent", "difference")}}
            )
            for item in fields["metrics"]
        )
        fields["guards"] = tuple(GuardResult(**item) for item in fields["guards"])
        fields["slices"] = tuple(
            SliceResult(**{**item, "difference": item["difference"] and _interval(item["difference"])})
            for item in fields["slices"]
        )
        fields["worst_rows"] = tuple(WorstRow(**item) for item in fields["worst_rows"])
        fields["calibration"] = tuple(CurvePoint(**item) for item in fields["calibration"])
        fields["residuals"] = tuple(ResidualPoint(**item) for item in fields["residuals"])
        return cls(**fields)


def _interval(values: Mapping[str, float | None]) -> Interval:
    value, lower, upper = values["value"], values["lower"], values["upper"]
    return Interval(
        float("nan") if value is None else value,
        float("-inf") if lower is None else lower,
        float("inf") if upper is None else upper,
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not (abs(value) < float("inf")):
        return None
    return value
