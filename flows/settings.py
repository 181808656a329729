"""Where things are: the ledger, the lake, the artifacts, the server; all from ``MLOPS_*`` variables."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlcore import failpoints


class Settings(BaseSettings):
    """Settings of one installation.

    Every field is read from the environment variable ``MLOPS_<FIELD>``, the two of the Prefect server also from
    Prefect's own names. Relative paths are taken from the working directory.
    """

    model_config = SettingsConfigDict(env_prefix="MLOPS_", frozen=True, extra="ignore")

    home: Path = Field(default=Path(".mlops"), description="Folder of everything that runs leave behind.")
    usecases: Path = Field(default=Path("usecases"), description="Folder with one folder a use case.")
    ledger_url: str = Field(default="", description="SQLAlchemy address; empty: SQLite in the home folder.")
    lake: str = Field(default="", description="Datasets and captures, a folder or s3://; empty: in the home folder.")
    artifacts: str = Field(default="", description="Models and pages, a folder, or s3:// for models; empty: at home.")
    host_url: str = Field(default="http://127.0.0.1:8700", description="The service host that serves the models.")
    api_url: str = Field(
        default="http://127.0.0.1:4200/api",
        validation_alias=AliasChoices("MLOPS_API_URL", "PREFECT_API_URL"),
        description="The Prefect server's API.",
    )
    api_auth: str = Field(
        default="",
        validation_alias=AliasChoices("MLOPS_API_AUTH", "PREFECT_API_AUTH_STRING"),
        description="user:password of an authenticated server.",
    )
    dask: str = Field(
        default="",
        description="Where the fits of a search run: empty for this process, local for a cluster on this machine, or "
        "the address of a Dask scheduler. Takes the extra `dask`.",
    )
    notify: str = Field(
        default="", description="Notification blocks told about every use case, as type/name, separated by commas."
    )

    failpoint: str = Field(
        default="", description="For tests of recovery: where this process kills itself, see mlcore/failpoints.py."
    )

    @property
    def root(self) -> Path:
        """The home folder, absolute."""
        return self.home.resolve()

    @property
    def ledger(self) -> str:
        """Address of the ledger database."""
        return self.ledger_url or f"sqlite:///{self.root / 'ledger.db'}"

    @property
    def lake_root(self) -> str:
        """Root of the Delta tables."""
        return self.lake or str(self.root / "lake")

    @property
    def artifacts_root(self) -> Path:
        """Root of pages, which people open from a disk."""
        return self.root / "artifacts" if "://" in self.artifacts or not self.artifacts else Path(self.artifacts)

    def window_page(self, window_id: str) -> Path:
        """Return where the page of a window is."""
        return self.artifacts_root / "windows" / f"{window_id}.html"

    def evaluation_page(self, usecase: str, evaluation_id: str) -> Path:
        """Return where the page of an evaluation is."""
        return self.artifacts_root / "evaluations" / usecase / f"{evaluation_id}.html"

    @property
    def models_root(self) -> str:
        """Root of model folders."""
        return f"{self.artifacts.rstrip('/') if '://' in self.artifacts else self.artifacts_root}/models"

    @property
    def spool(self) -> Path:
        """Where services leave captured rows, one folder a use case."""
        return self.root / "spool"

    @property
    def bentos(self) -> Path:
        """BentoML's store."""
        return self.root / "bentoml"

    @property
    def host_state(self) -> Path:
        """State folder of the local service host."""
        return self.root / "host"

    @property
    def ui_url(self) -> str:
        """The Prefect UI's address."""
        return self.api_url.removesuffix("/api")

    @property
    def host_port(self) -> int:
        """Port of the service host."""
        return urlsplit(self.host_url).port or 80


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return the settings of this process, read once, and arm the failpoint that they name."""
    found = Settings()
    failpoints.arm(found.failpoint)
    return found
