"""What the `backtest` flow and the `mlops backtest` command share: from options to the pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcore.errors import UseCaseError

if TYPE_CHECKING:
    import pyarrow as pa

    from mlcore.backtest import BacktestResult, Options
    from mlcore.data.casting import Unreadable
    from mlcore.usecase import UseCase


@dataclass(frozen=True, slots=True)
class Written:
    """A backtest, and where its page and its figures are."""

    result: BacktestResult
    page: Path
    figures: Path


def replay_table(
    table: pa.Table,
    usecase: UseCase,
    *,
    options: Options,
    grid: Mapping[str, Sequence[Any]],
    root: Path,
    name: str,
    progress: Callable[[str], None] | None = None,
    unreadable: Sequence[Unreadable] = (),
) -> Written:
    """Replay `table`, and write ``<name>.html`` and ``<name>.json`` under ``root/backtests/<use case>/``.

    The page tells of what was `unreadable` in the file. What a killed replay of the same rows, use case and code had
    done is taken from its journal there.

    Raises
    ------
    TrainingError, UseCaseError
        If it cannot be replayed.
    """
    from mlcore.backtest import Journal, journal_name, replay, settings_of
    from mlcore.data.digest import table_digest
    from mlcore.report.backtest import write_backtest_page
    from mlcore.report.page import write

    seed, folder = usecase.training.search.seed, root / "backtests" / usecase.name
    settings = settings_of(usecase, grid)
    journal = Journal(folder / f".{journal_name(table_digest(table), usecase, seed)}")
    result = replay(
        table.to_pandas(), usecase, seed=seed, options=options, settings=settings, journal=journal, progress=progress
    )
    result = replace(result, facts=(*result.facts, *(("not read", item.sentence) for item in unreadable)))
    page = write_backtest_page(result, folder / f"{name}.html")
    figures = write(folder / f"{name}.json", json.dumps(result.to_json(), indent=1, default=str))
    journal.remove()
    return Written(result, page, figures)


def read_grid(path: Path) -> dict[str, list[Any]]:
    """Return the keys of a YAML file with their values, each a list.

    Raises
    ------
    UseCaseError
        If there is no such file, or it is something else.
    """
    import yaml

    subject = str(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        got = getattr(error, "strerror", None) or "something that is not YAML"
        raise UseCaseError("the grid cannot be read", subject=subject, expected="a YAML file", got=got) from None
    if not isinstance(values, dict) or not values or not all(isinstance(item, list) for item in values.values()):
        raise UseCaseError(
            "the grid cannot be understood",
            subject=subject,
            expected="keys of the policy, each with a list of values",
            got=str(values)[:80],
            remedy="As in: retraining.cooldown: [P1D, P7D]",
        )
    return {str(key): values[key] for key in values}


def table_rows(result: BacktestResult) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return the header and the rows of the summary."""
    header = ("strategy", result.metric, "share of always", "retrainings", "promoted", "alarms", "false", "missed harm")
    rows = []
    for item in result.summaries:
        share = result.share(item.strategy)
        rows.append(
            (
                item.strategy,
                f"{item.error:.4g}",
                "" if share is None else f"{share:.0%}",
                *map(str, (item.retrainings, item.promotions, item.alarms, item.false_alarms, item.missed_harm)),
            )
        )
    return header, rows
