"""What a backtest found, as values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

#: A smaller share of the error is nothing to retrain for.
_LEAST_GAIN: Final = 0.01


@dataclass(frozen=True, slots=True)
class WindowResult:
    """One window under one strategy.

    Parameters
    ----------
    strategy : str
        One of `STRATEGIES`, or the name of a setting of the policy.
    starts_at : datetime
    rows : int
    error : float
        The metric of the models that answered, on every row that ever got a label; nan without any.
    cause, action : str
        The diagnosis, and what the strategy did about it once the labels were there.
    labelled : int
    alarm : bool
        Whether the strategy wanted a retraining, granted or not.
    harmed : bool
        Whether by the labels the error was beyond the policy's limit.
    verdict : {"", "promote", "hold", "reject", "failed"}
        What the gate said of the new model; ``failed``: there is none.
    sentence : str
        Why.
    """

    strategy: str
    starts_at: datetime
    rows: int
    error: float
    cause: str
    action: str
    labelled: int = 0
    alarm: bool = False
    harmed: bool = False
    verdict: str = ""
    sentence: str = ""


@dataclass(frozen=True, slots=True)
class StrategySummary:
    """One strategy over all windows.

    Parameters
    ----------
    strategy : str
    error : float
        Mean over the windows, by labelled rows.
    retrainings : int
    alarms : int
        Windows after which a retraining was wanted.
    promotions : int
        Retrainings whose model passed the gate.
    false_alarms : int
        Alarms of windows that were not harmed.
    missed_harm : int
        Harmed windows without an alarm.
    rows_to_detection : float or None
        Median, over stretches of harmed windows, of the rows answered from the stretch's begin to its first alarm;
        None where no such stretch was noticed.
    """

    strategy: str
    error: float
    retrainings: int
    alarms: int
    promotions: int = 0
    false_alarms: int = 0
    missed_harm: int = 0
    rows_to_detection: float | None = None


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """All strategies on the same past.

    Parameters
    ----------
    usecase, metric : str
    windows : tuple of WindowResult
    summaries : tuple of StrategySummary
    higher_is_better : bool, default=False
        Of the metric.
    facts : tuple of (str, str)
        How the past was replayed, in words.
    settings : tuple of str
        Names of the summaries that are settings of the policy.
    """

    usecase: str
    metric: str
    windows: tuple[WindowResult, ...]
    summaries: tuple[StrategySummary, ...]
    higher_is_better: bool = False
    facts: tuple[tuple[str, str], ...] = ()
    settings: tuple[str, ...] = ()

    def summary(self, strategy: str) -> StrategySummary:
        """Return one strategy's."""
        return next(item for item in self.summaries if item.strategy == strategy)

    def gained(self, strategy: str) -> float:
        """Return by how much a strategy's error is lower than without retraining."""
        sign = -1 if self.higher_is_better else 1
        return sign * (self.summary("static").error - self.summary(strategy).error)

    def share(self, strategy: str, of: str = "always") -> float | None:
        """Return which share of the other strategy's gain this one has; None where that gained nothing."""
        possible = self.gained(of)
        return self.gained(strategy) / possible if possible > 0 else None

    @property
    def pays(self) -> bool:
        """Whether retraining after every window gains anything to speak of: a share of less than that is of chance.

        At least a hundredth of the error without retraining, and more than one standard error of the gain over the
        windows, sqrt(sum w² (d - mean)²) / sum w, with d the gain of a window of w labelled rows.
        """
        gain = self.gained("always")
        return gain >= _LEAST_GAIN * abs(self.summary("static").error) and gain > self._deviation("always")

    def _deviation(self, strategy: str) -> float:
        """Return the standard error of a strategy's gain, windows taken for independent."""
        static = {item.starts_at: item for item in self.windows if item.strategy == "static" and item.labelled}
        mine = [item for item in self.windows if item.strategy == strategy and item.starts_at in static]
        weights = np.array([item.labelled for item in mine], dtype=float)
        gains = np.array([static[item.starts_at].error - item.error for item in mine])
        known = np.isfinite(gains)
        if known.sum() < 2:
            return math.inf
        weights, gains = weights[known], gains[known]
        left = weights * (gains - np.average(gains, weights=weights))
        return float(np.sqrt(np.square(left).sum()) / weights.sum())

    def _told(self) -> str:
        share, gain = self.share("policy"), self.gained("always") / (abs(self.summary("static").error) or 1.0)
        if share is None:
            return "retraining after every window would have brought nothing: no retraining pays here"
        if not self.pays:
            return (
                f"retraining after every window would have bettered it by {gain:.1%}, which may as well be chance: no "
                "retraining pays here"
            )
        return f"{share:.0%} of what retraining after every window brings"

    @property
    def sentence(self) -> str:
        """What it comes to, for a manager."""
        mine, always, static = (self.summary(name) for name in ("policy", "always", "static"))
        name, told = self.metric.replace("_", " "), self._told()
        sentence = (
            f"The policy retrains {_times(mine.retrainings)} instead of {_times(always.retrainings)} and has a "
            f"{name} of {mine.error:.4g} ({static.error:.4g} without retraining, {always.error:.4g} with retraining "
            f"after every window): {told}."
        )
        unseen = sum(item.cause == "too_little_data" for item in self.windows if item.strategy == "policy")
        every = sum(item.strategy == "policy" for item in self.windows)
        if every and unseen * 2 > every:
            sentence += (
                f" But {unseen} of {every} windows were too small, or had too few labels, to be judged: longer "
                "windows (--period) would tell more."
            )
        faulty = sum(item.cause == "data_fault" for item in self.windows if item.strategy == "policy")
        if every and faulty * 2 > every:
            sentence += f" But the data of {faulty} of {every} windows was faulty: a policy cannot mend that."
        return sentence

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "format": 2,
            "usecase": self.usecase,
            "metric": self.metric,
            "sentence": self.sentence,
            "pays": self.pays,
            "facts": dict(self.facts),
            "settings": list(self.settings),
            "summaries": [_plain(asdict(item)) for item in self.summaries],
            "windows": [_plain(asdict(item)) for item in self.windows],
        }


def summarise(strategy: str, windows: Sequence[WindowResult]) -> StrategySummary:
    """Count what `strategy` did in its windows, which are by time."""
    mine = [item for item in windows if item.strategy == strategy]
    judged = [item for item in mine if item.labelled and math.isfinite(item.error)]
    weights = [item.labelled for item in judged]
    trained = [item for item in mine if item.verdict not in ("", "failed")]
    waits = detections(mine)
    return StrategySummary(
        strategy=strategy,
        error=float(np.average([item.error for item in judged], weights=weights)) if judged else math.nan,
        retrainings=len(trained),
        alarms=sum(item.alarm for item in mine),
        promotions=sum(item.verdict == "promote" for item in trained),
        false_alarms=sum(item.alarm and not item.harmed for item in mine),
        missed_harm=sum(item.harmed and not item.alarm for item in mine),
        rows_to_detection=float(np.median(waits)) if waits else None,
    )


def detections(windows: Sequence[WindowResult]) -> list[int]:
    """Return, for each stretch of harmed windows that was noticed, the rows answered until its first alarm.

    A window is judged as a whole, so its own rows have been answered when its alarm comes.
    """
    found, rows, noticed = [], 0, False
    for window in windows:
        if not window.harmed:
            rows, noticed = 0, False
            continue
        rows += window.rows
        if window.alarm and not noticed:
            found.append(rows)
            noticed = True
    return found


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    plain = {**values}
    for name, value in values.items():
        if isinstance(value, datetime):
            plain[name] = value.isoformat()
        elif isinstance(value, float) and not math.isfinite(value):
            plain[name] = None
    return plain
