"""The whole loop over past data: which retraining policy would have been best, before one goes live."""

from mlcore.backtest.journal import Journal, journal_name
from mlcore.backtest.look import look
from mlcore.backtest.models import Models, Trained
from mlcore.backtest.replay import STRATEGIES, Options, replay
from mlcore.backtest.result import BacktestResult, StrategySummary, WindowResult
from mlcore.backtest.settings import parse_set, settings_of

__all__ = [
    "STRATEGIES",
    "BacktestResult",
    "Journal",
    "Models",
    "Options",
    "StrategySummary",
    "Trained",
    "WindowResult",
    "journal_name",
    "look",
    "parse_set",
    "replay",
    "settings_of",
]
