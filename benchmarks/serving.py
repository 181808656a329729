"""One row as JSON, answered and captured: asked for are 1.5 times the requests of plain FastAPI with scikit-learn.

Histogram boosting on 15 numbers. Ours is a Bento behind the service host, which captures every row; then the same with
`X-Capture: off`, and captured without the host's gateway. The peer is a FastAPI route that has `predict_proba` answer
one array of numbers, unchecked and uncaptured; the floor is one that answers what it was sent. All on uvicorn, one
process each, OMP_NUM_THREADS=1, two seconds in turns, three rounds, medians. The client, which holds that many
connections open and asks again as soon as it is answered, runs on the same two cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import numpy as np
import psutil
from pydantic import BaseModel

ROUNDS, SECONDS, CONNECTIONS = 3, float(os.environ.get("SERVING_SECONDS", "2")), (1, 16, 64)
ROOT: Final = Path(__file__).parents[1]
_MODEL: Final = "SERVING_MODEL"
_PATIENCE_SECONDS: Final = 60.0


class Row(BaseModel):
    """What the peer takes."""

    values: list[float]


def run() -> None:
    """Print requests a second, their ratios to the peer's, and the slowest hundredth."""
    from benchmarks.scoring import FEATURES

    numbers = np.random.default_rng(2).normal(size=FEATURES).round(3).tolist()
    row = {f"x{number}": value for number, value in enumerate(numbers)}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder)
        ours, direct, model = stack.enter_context(_ours(home))
        environment = {_MODEL: json.dumps(model)}
        floor = stack.enter_context(_uvicorn("echo", environment))
        peer = stack.enter_context(_uvicorn("plain", environment))
        rows, values = {"rows": [row]}, {"values": numbers}
        contestants = {
            "FastAPI echo": _request(floor, values),
            "FastAPI + scikit-learn": _request(peer, values),
            "ours": _request(ours, rows),
            "ours, not captured": _request(ours, rows, "X-Capture: off"),
            "ours, no gateway": _request(direct, rows),
        }
        print(f"{os.cpu_count()} cores; requests/s, x the peer's, 99th percentile in ms")
        for connections in CONNECTIONS:
            _race(contestants, connections)


def _race(contestants: dict[str, tuple[str, bytes]], connections: int) -> None:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in contestants}
    for contestant in contestants.values():
        asyncio.run(_load(*contestant, connections, SECONDS / 4))
    for _ in range(ROUNDS):
        for name, contestant in contestants.items():
            found[name].append(asyncio.run(_load(*contestant, connections, SECONDS)))
    peer = statistics.median(rate for rate, _ in found["FastAPI + scikit-learn"])
    print(f"{connections} connection{'s' * (connections > 1)}")
    for name, measured in found.items():
        rate, slow = (statistics.median(values) for values in zip(*measured, strict=True))
        print(f"  {name:<24} {rate:8,.0f}   {rate / peer:6.2f} x   {slow:7.1f} ms")


def _request(url: str, body: Any, *headers: str) -> tuple[str, bytes]:
    """Return where to connect, and what to send there."""
    parts, content = urlsplit(url), json.dumps(body).encode()
    head = [f"POST {parts.path} HTTP/1.1", f"Host: {parts.netloc}", "Content-Type: application/json"]
    lines = [*head, *headers, f"Content-Length: {len(content)}", "", ""]
    return parts.netloc, "\r\n".join(lines).encode() + content


async def _load(netloc: str, request: bytes, connections: int, seconds: float) -> tuple[float, float]:
    """Ask over so many connections at once; return requests a second, and the 99th percentile in milliseconds."""
    host, port = netloc.split(":")
    taken: list[float] = []
    until = time.perf_counter() + seconds

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        while (began := time.perf_counter()) < until:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"http/1.1 200"):
                raise SystemExit(f"{netloc} answers {head.splitlines()[0].decode()}")
            await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
            taken.append(time.perf_counter() - began)
        writer.close()

    began = time.perf_counter()
    await asyncio.gather(*(ask() for _ in range(connections)))
    return len(taken) / (time.perf_counter() - began), float(np.percentile(taken, 99) * 1000)


@contextmanager
def _ours(home: Path) -> Iterator[tuple[str, str, tuple[str, str]]]:
    """Serve a Bento; yield where the gateway and the service answer, and the model's place and digest."""
    from benchmarks.scoring import _model, _usecase
    from bentos.packaging import build
    from bentos.processes import free_port
    from bentos.targets.local import LocalTarget

    usecase, (uri, digest) = _usecase(), _model(home)
    bento = build(
        model_uri=uri,
        model_digest=digest,
        usecase=usecase,
        model_version=1,
        bentoml_home=home / "bentoml",
        lock_file=ROOT / "requirements.lock",
    )
    port = free_port()
    command = ["-m", "bentos.host", "--port", str(port), "--state-dir", str(home / "host")]
    with _process(command, port, {"MLOPS_SPOOL": str(home / "spool")}):
        url = f"http://127.0.0.1:{port}"
        LocalTarget.at(url, home / "host").deploy(usecase.name, 1, str(bento.path))
        lines = (process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"]))
        (direct,) = {line[line.index("--port") + 1] for line in lines if str(bento.path) in line and "--port" in line}
        yield f"{url}/{usecase.name}/predict", f"http://127.0.0.1:{direct}/predict", (uri, digest)
        LocalTarget.at(url, home / "host").stop(usecase.name)


@contextmanager
def _uvicorn(factory: str, environment: dict[str, str]) -> Iterator[str]:
    from bentos.processes import free_port

    port = free_port()
    app = f"benchmarks.serving:{factory}"
    command = ["-m", "uvicorn", app, "--factory", "--port", str(port), "--log-level", "warning", "--no-access-log"]
    with _process(command, port, environment):
        yield f"http://127.0.0.1:{port}/predict"


@contextmanager
def _process(arguments: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    """Run Python until it answers on `port`, then for the block."""
    given = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=given, stdout=subprocess.DEVNULL)
    try:
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/")
                break
            except httpx.TransportError:
                if process.poll() is not None or time.monotonic() > until:
                    raise SystemExit(f"{' '.join(arguments)} does not come up") from None
                time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def echo() -> Any:
    """Return an app that answers what it was sent."""
    from fastapi import FastAPI

    app = FastAPI()

    @app.post("/predict")
    async def predict(row: Row) -> dict[str, Any]:
        return {"values": row.values}

    return app


def plain() -> Any:
    """Return an app that has the model's estimator answer."""
    from fastapi import FastAPI

    from mlcore.modelstore import load_model

    estimator = load_model(*json.loads(os.environ[_MODEL])).pipeline[-1]
    app = FastAPI()

    @app.post("/predict")
    async def predict(row: Row) -> dict[str, Any]:
        (probabilities,) = estimator.predict_proba(np.array([row.values]))
        return {"prediction": str(estimator.classes_[probabilities.argmax()]), "probabilities": probabilities.tolist()}

    return app
