"""`mlops up`: everything for one's own work, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from rich.console import Console

from flows._cli.stack import Stack
from flows.settings import settings


def run(*, home: Path | None, server_port: int, host_port: int) -> None:
    """Start everything, say where it is, keep it running until SIGINT or SIGTERM, stop everything.

    Raises
    ------
    SettingsError
        If a port is taken.
    ServerError
        If a part does not come up; one that ends later is started again.
    """
    console = Console(soft_wrap=True, highlight=False)
    asked = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked.set())
    here = settings()
    home = home or here.home
    stack = Stack(home, server_port, host_port, here.usecases, progress=lambda text: console.print(f"  {text}"))
    with stack:
        console.print(
            f"\nPrefect UI    {stack.ui_url}\nservices      {stack.host_url}/<use case>/predict\n"
            f"home          {home.resolve()}\nlogs          {home.resolve() / 'logs'}\n\n"
            f"In another terminal:\n  export PREFECT_API_URL={stack.api_url} MLOPS_HOME={home.resolve()}\n"
            "  mlops publish bikeshare usecases/bikeshare/data/hourly.csv\n\nCtrl-C stops everything."
        )
        while not asked.wait(0.2):
            stack.mend()
        console.print("\nstopping")
