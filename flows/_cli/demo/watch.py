"""Waiting for what the loop does by itself, and telling it as it happens."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console

from mlcore.errors import ServerError

if TYPE_CHECKING:
    from flows._cli.stack import Stack
    from mlcore.ledger.store import Ledger, View

T = TypeVar("T")
_POLL_SECONDS = 0.25


@dataclass
class Watch:
    """Polls the ledger; the demo does nothing but look."""

    stack: Stack
    ledger: Ledger
    console: Console
    _started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds since the demo began."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """Print one line of progress."""
        self.console.print(f"[dim]{self.seconds:6.1f} s[/dim]  {text}", highlight=False)
        # also where the output is a file or a pipe: who looks wants to see it now
        self.console.file.flush()

    def until(self, what: str, find: Callable[[View], T | None], *, seconds: float = 300.0) -> T:
        """Wait until `find` finds something in the ledger.

        Raises
        ------
        ServerError
            If it does not happen in time.
        """
        until = time.monotonic() + seconds
        while True:
            with self.ledger.read() as view:
                found = find(view)
            if found is not None:
                return found
            self.stack.mend()
            if time.monotonic() > until:
                raise ServerError(
                    f"{what} did not happen",
                    subject=f"{self.stack.home}/logs",
                    expected=f"within {seconds:.0f} seconds",
                    got=self._failures() or "nothing failed, it is just slow",
                    remedy="The logs and the flow runs in the UI say why.",
                )
            time.sleep(_POLL_SECONDS)

    def _failures(self) -> str:
        runs = self.stack.server.find_flow_runs(flow_runs={"state": {"type": {"any_": ["FAILED", "CRASHED"]}}})
        return "; ".join(f"{run['name']}: {(run['state'] or {}).get('message') or ''}"[:300] for run in runs[:3])
