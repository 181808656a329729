"""Processes beside the replay, one a core, that train the models it will ask for."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any, Final

from mlcore.errors import MLOpsError

if TYPE_CHECKING:
    from mlcore.backtest.journal import SavedModel
    from mlcore.backtest.past import Past
    from mlcore.usecase import UseCase

#: Less training than this is sooner done than processes are started.
_WORTH_SECONDS: Final = 20.0
#: Each has the rows in memory.
_MOST: Final = 4
_ENDED: Final = (EOFError, BrokenPipeError)
_SERVE: Final = "from mlcore.backtest.trainers import serve; serve()"


@dataclass(frozen=True, slots=True)
class _Work:
    """What a process is told first: the rows, the seed, where models go, and where own code is."""

    past: Past
    seed: int
    folder: Path
    code: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Order:
    """One model: the rows before a moment, without those of some windows."""

    usecase: UseCase
    moment: datetime
    without: tuple[datetime, ...]


class Trainers:
    """Trains in processes that are started when first needed; each fits the very model that would be fitted here.

    A process ends with the one that started it, however that ends: it then finds no further order.

    Parameters
    ----------
    past : Past
    seed : int
    folder : Path
        The journal's.
    count : int, optional
        How many, started with the first order; by default one a core, none where there is one only, and only for so
        much training that it saves time.
    """

    def __init__(self, past: Past, seed: int, folder: Path, count: int | None = None) -> None:
        cores = len(os.sched_getaffinity(0))
        self.count = count if count is not None else min(cores, _MOST) if cores > 1 else 0
        self._worth_seconds = _WORTH_SECONDS if count is None else 0.0
        self._past, self._seed, self._folder = past, seed, folder
        self._pool: ThreadPoolExecutor | None = None
        self._free: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def begun(self) -> bool:
        """Whether they have been started."""
        return self._pool is not None

    def worth(self, seconds: float) -> bool:
        """Return whether so much training is left that they shall be started, or have been."""
        return self.count > 0 and (self.begun or seconds >= self._worth_seconds)

    def train(self, usecase: UseCase, moment: datetime, without: tuple[datetime, ...]) -> Future[SavedModel | None]:
        """Order a model; the result raises what training it here would have raised, and is None if a process died."""
        if self._pool is None:
            self._start()
            self._pool = ThreadPoolExecutor(self.count, "trainer")
        return self._pool.submit(self._ask, _Order(usecase, moment, without))

    def kill(self) -> None:
        """End the processes, whatever they are doing."""
        for process in self._processes:
            process.kill()

    def close(self) -> None:
        """End the processes, and forget what was ordered."""
        self.kill()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        for process in self._processes:
            process.communicate()

    def _start(self) -> None:
        from mlcore.owncode import code_folders

        work = _Work(self._past, self._seed, self._folder.resolve(), code_folders())
        # one thread each for sums: as many as there are cores would only wait for one another
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
        with TemporaryDirectory(prefix="backtest-rows-") as folder:
            rows = Path(folder) / "work"
            with rows.open("wb") as file:
                pickle.dump(work, file, pickle.HIGHEST_PROTOCOL)
            for _ in range(self.count):
                process = subprocess.Popen(
                    [sys.executable, "-c", _SERVE],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    env=environment,
                )
                self._processes.append(process)
                _send(process.stdin, rows)
            for process in self._processes:
                with suppress(*_ENDED):
                    _receive(process.stdout)
                self._free.put(process)

    def _ask(self, order: _Order) -> SavedModel | None:
        process = self._free.get()
        try:
            _send(process.stdin, order)
            answer: SavedModel | MLOpsError = _receive(process.stdout)
        except _ENDED:
            return None
        finally:
            self._free.put(process)
        if isinstance(answer, MLOpsError):
            raise answer
        return answer


def serve() -> None:
    """Train what is ordered on the standard input, until it ends."""
    # the terminal's Ctrl-C is for the process that gives the orders, and ends this one
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    orders, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    with suppress(*_ENDED):
        work = _work(pickle.load(orders))
        _send(answers, None)
        for order in _orders(orders):
            _send(answers, _answer(work, order))


def _work(path: Path) -> _Work:
    from mlcore.owncode import find_code

    with path.open("rb") as file:
        work: _Work = pickle.load(file)
    for folder in work.code:
        find_code(folder)
    return work


def _orders(source: IO[bytes]) -> Iterator[_Order]:
    while True:
        yield pickle.load(source)


def _answer(work: _Work, order: _Order) -> SavedModel | MLOpsError:
    from mlcore.backtest.journal import save_trained
    from mlcore.backtest.models import learn, recent

    rows = recent(work.past.known(order.moment, without=order.without), order.usecase, order.moment)
    try:
        trained, baseline = learn(rows, order.usecase, work.seed)
        return save_trained(trained, order.usecase, rows, baseline, work.folder)
    except MLOpsError as error:
        return error


def _send(pipe: IO[bytes] | None, message: Any) -> None:
    assert pipe is not None
    pickle.dump(message, pipe, pickle.HIGHEST_PROTOCOL)
    pipe.flush()


def _receive(pipe: IO[bytes] | None) -> Any:
    assert pipe is not None
    return pickle.load(pipe)
