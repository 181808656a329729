"""What every flow opens first: the use case, the ledger and the stores, and what it leaves: events, an artifact."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from prefect import flow, get_run_logger
from prefect.artifacts import acreate_markdown_artifact
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows._server import Server
from flows._strays import ignore_unknown
from flows._termination import end_when_told
from flows.settings import Settings, settings
from mlcore.errors import MLOpsError, storage_error
from mlcore.ledger.store import Ledger
from mlcore.usecase import UseCase, find_usecase

if TYPE_CHECKING:
    from mlcore.capture.store import CaptureStore
    from mlcore.data.datasets import DatasetStore

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Context:
    """One flow run's view of the installation."""

    settings: Settings
    usecase: UseCase
    ledger: Ledger
    server: Server
    run_id: str

    @property
    def name(self) -> str:
        """The use case's name."""
        return self.usecase.name

    @property
    def datasets(self) -> DatasetStore:
        """The store of dataset versions."""
        from mlcore.data.datasets import DatasetStore

        return DatasetStore(self.settings.lake_root)

    @property
    def captures(self) -> CaptureStore:
        """The store of this use case's captured rows."""
        from mlcore.capture.store import CaptureStore

        return CaptureStore(self.settings.lake_root, self.name, self.usecase.contract)

    def evaluation_page(self, evaluation_id: str) -> Path:
        """Return where the page of an evaluation is."""
        return self.settings.evaluation_page(self.name, evaluation_id)

    def model_card(self, version: int) -> Path:
        """Return where the card of a model version is."""
        return self.settings.artifacts_root / "cards" / self.name / f"{version}.html"

    def window_page(self, window_id: str) -> Path:
        """Return where the page of a window is."""
        return self.settings.window_page(window_id)

    @property
    def actor(self) -> str:
        """Who acts, as the audit trail names it."""
        return f"flow-run:{self.run_id}"

    def now(self) -> datetime:
        """The time, aware and in UTC."""
        return datetime.now(UTC)

    def announce(self) -> None:
        """Deliver what the ledger has committed to announce.

        A server that does not answer is no reason to fail: the events stay in the outbox and `maintain` delivers them.
        """
        from mlcore.ledger.outbox import deliver

        report = deliver(self.ledger, self.server.post_events, self.now())
        if report.failed:
            get_run_logger().warning("%d events wait in the outbox: %s", report.failed, report.last_error)

    async def tell(self, sentence: str, details: str = "") -> None:
        """Log `sentence` and keep it, with `details` in Markdown, as the run's artifact."""
        get_run_logger().info(sentence)
        key = f"{flow_run.flow_name or 'flow'}-{self.name}".replace("_", "-")
        await acreate_markdown_artifact(
            key=key, markdown=f"**{sentence}**\n\n{details}", description=f"Use case {self.name}"
        )


def open_context(usecase: str) -> Context:
    """Open everything for `usecase`.

    Raises
    ------
    UseCaseError, LedgerError
        Where the use case or the ledger cannot be read.
    """
    here = settings()
    here.root.mkdir(parents=True, exist_ok=True)
    return Context(
        settings=here,
        usecase=find_usecase(here.usecases, usecase),
        ledger=Ledger.open(here.ledger),
        server=Server.of(here),
        run_id=str(flow_run.id or "local"),
    )


def stage(name: str, **options: Any) -> Callable[[Callable[P, Awaitable[R]]], Any]:
    """Make a flow of an async function; an error a person can read fails the run with its sentence, no traceback.

    Where an event (`event_id`) has woken it for a use case that is not there, it says so and does nothing.
    """

    def decorate(function: Callable[P, Awaitable[R]]) -> Any:
        signature = inspect.signature(function, eval_str=True)

        @functools.wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> Any:
            end_when_told()
            given = signature.bind(*args, **kwargs).arguments
            try:
                if given.get("event_id") and (unknown := ignore_unknown(given["usecase"], given["event_id"])):
                    get_run_logger().warning(unknown)
                    return Completed(message=unknown)
                return await function(*args, **kwargs)
            except MLOpsError as raised:
                error = raised
            except OSError as raised:
                error = storage_error(raised)
            get_run_logger().error(str(error))
            # the error travels in the state, so that a parent flow raises it again as it was
            return Failed(message=str(error), data=error)

        # prefect reads the parameters off `run`: their annotations are names of the module that `function` is in
        run.__signature__ = signature  # type: ignore[attr-defined]
        run.__annotations__ = inspect.get_annotations(function, eval_str=True)
        return flow(name=name, **{"flow_run_name": f"{name}-{{usecase}}", **options})(run)

    return decorate
