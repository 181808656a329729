"""How long the windows of a draft are: enough rows to judge one, enough windows to learn from."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

if TYPE_CHECKING:
    import pandas as pd

#: From the longest; with the days of each, and how the draft waits for labels of such a window.
_PERIODS: Final = (("month", 30, "P7D"), ("week", 7, "P7D"), ("day", 1, "P1D"), ("hour", 1 / 24, "PT1H"))
#: Fewer rows make a poor window, fewer windows a poor history.
_LEAST_ROWS: Final = 60
_LEAST_WINDOWS: Final = 10
#: Where no length of window has enough of both, the longest with so many rows.
_POOR_ROWS: Final = 20
#: Half of the usual rows can be judged, and so many can wherever they are a smaller share.
_MOST_MINIMUM: Final = 200
_LEAST_MINIMUM: Final = 12
#: Of so many windows at most so many lead to a retraining, and never two in a row. Were it four of ten, harm that lasts
#: would have spent them by the seventh, and nothing would be tried until the eleventh, whatever became possible.
_BUDGET: Final = 2
_BUDGET_WINDOWS: Final = 5
_COOLDOWN_WINDOWS: Final = 1.5
#: Held out are the newest windows, and days enough for the gate's blocks of a day.
_HOLDOUT_WINDOWS: Final = 4
_LEAST_HOLDOUT: Final = 14
_NAMES: Final = {"month": "monthly", "week": "weekly", "day": "daily", "hour": "hourly"}
_MOST_NEW_ROWS: Final = 100


@dataclass(frozen=True, slots=True)
class Window:
    """The cadence of a draft.

    Parameters
    ----------
    period : {"month", "week", "day", "hour"}
    days : float
        Its length.
    label_wait : str
        As ISO 8601 has durations.
    rows : float
        Of a usual window.
    step_days : float
        Between a time and the next one, usually.
    """

    period: str = "week"
    days: float = 7
    label_wait: str = "P7D"
    rows: float = _LEAST_ROWS
    step_days: float = 0.0

    def numbers(self, times: pd.Series) -> Any:
        """Return the window of each row, as a count of such lengths since 1970."""
        return times.to_numpy(dtype="datetime64[s]").astype("int64") // int(self.days * 86_400)

    def to_rule(self) -> dict[str, Any]:
        """Return the entry of ``monitoring.windows``."""
        return {
            "name": _NAMES[self.period],
            "period": self.period,
            "checks": ["quality", "drift", "performance"],
            "minimum_rows": int(min(_MOST_MINIMUM, max(_LEAST_MINIMUM, self.rows / 2))),
            "label_wait": self.label_wait,
        }

    @property
    def holdout_days(self) -> int:
        """So many days tell a better model from a worse one; what came before them is learned."""
        return max(_LEAST_HOLDOUT, math.ceil(_HOLDOUT_WINDOWS * self.days))

    def to_retraining(self) -> dict[str, Any]:
        """Return the section ``retraining``: what it may spend is a share of the windows."""
        return {
            # the window after a retraining has hardly any answers of the new model, and brings it few rows to learn
            "cooldown": _iso(timedelta(days=_COOLDOWN_WINDOWS * self.days)),
            "budget": _BUDGET,
            "budget_period": _iso(timedelta(days=_BUDGET_WINDOWS * self.days)),
            # as many rows again as the champion knows are worth a look, wherever the inputs have moved
            "growth_fraction": 1.0,
            "minimum_new_rows": int(min(_MOST_NEW_ROWS, max(_LEAST_MINIMUM, self.rows))),
        }


def _iso(length: timedelta) -> str:
    """Return a length of whole minutes as ISO 8601 writes it."""
    return str(TypeAdapter(timedelta).dump_python(timedelta(minutes=round(length.total_seconds() / 60)), mode="json"))


def draft_window(times: pd.Series | None) -> Window:
    """Return weeks where they have the rows and the history has enough of them, otherwise what has.

    Rows are counted where there are any: a file with gaps has no thinner windows for them. Rows that come once a month
    have no shorter windows.
    """
    import pandas as pd

    known = times.dropna() if times is not None else pd.Series(dtype="datetime64[ns, UTC]")
    if known.empty:
        return Window()
    windows: list[Window] = []
    lengths = []
    moments = known.drop_duplicates().sort_values()
    step = moments.diff().median() / pd.Timedelta(days=1) if len(moments) > _LEAST_WINDOWS else 0.0
    for period, days, wait in _PERIODS:
        if windows and days < step:
            break
        window = Window(period, days, wait, step_days=step)
        counts = pd.Series(window.numbers(known)).value_counts()
        windows.append(replace(window, rows=float(counts.median())))
        lengths.append(len(counts))
    history = [window for window, count in zip(windows, lengths, strict=True) if count >= _LEAST_WINDOWS]
    for window in history:
        if window.period != "month" and window.rows >= _LEAST_ROWS:
            return window
    return next((window for window in history if window.rows >= _POOR_ROWS), windows[0])
