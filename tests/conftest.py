"""What tests share: the repository's use cases and data, ledgers on both databases, a running installation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from mlcore.ledger.store import Ledger
from mlcore.usecase import UseCase, load_usecase
from tests.support import postgres_database

ROOT = Path(__file__).parent.parent

# Prefect's client must never reach a server that happens to run on this machine
os.environ.setdefault("PREFECT_API_URL", "http://127.0.0.1:9/api")
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take minutes, so that none of them is left for the end."""
    long = {"journeys": 0, "faults": 1}
    items.sort(key=lambda item: long.get(item.path.parent.name, 2))


@pytest.fixture(scope="session")
def bikeshare() -> UseCase:
    """The quickstart use case."""
    return load_usecase(ROOT / "usecases" / "bikeshare")


@pytest.fixture(scope="session")
def churn() -> UseCase:
    """A classification use case that lives in the tests."""
    return load_usecase(ROOT / "tests" / "usecases" / "churn")


@pytest.fixture(scope="session")
def bikeshare_table(bikeshare: UseCase):
    """All hours of 2011 as a contract table."""
    from mlcore.data.ingest import read_source

    return read_source(str(ROOT / "usecases" / "bikeshare" / "data" / "hourly.csv"), bikeshare.contract)


@pytest.fixture(scope="session")
def bikeshare_frame(bikeshare_table) -> pd.DataFrame:
    """All hours of 2011."""
    return bikeshare_table.to_pandas()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The bucket `models` of a server that speaks S3, where every part of the library looks for it; its address."""
    import httpx
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        url = "http://{}:{}".format(*server.get_host_and_port())
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ALLOW_HTTP", "true")
        # servers of one process share what they hold: an earlier module's objects go first
        assert httpx.post(f"{url}/moto-api/reset").is_success
        assert httpx.put(f"{url}/models").is_success
        yield url
    server.stop()


@pytest.fixture
def now() -> datetime:
    """A fixed moment."""
    return datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database on each kind of server."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    with postgres_database() as at:
        if not at:
            pytest.skip("no PostgreSQL answers on 127.0.0.1:5432")
        yield f"postgresql+psycopg://{at}"


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """An empty ledger on each kind of server."""
    ledger = Ledger.open(ledger_url)
    yield ledger
    ledger.close()
