"""Configuration: where things are and which knobs a deployment turns.

Every setting is an environment variable with the prefix `WITHIN_` (or a line in `.env`); the defaults keep everything below the folder
`data` of the current directory and need no server."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from within_pipelines.exceptions import SettingsError


class Settings(BaseSettings):
    """Where data lives and how the daily job behaves.

    >>> Settings(home="/tmp/agency").landing.as_posix()
    '/tmp/agency/landing'
    """

    model_config = SettingsConfigDict(env_prefix="WITHIN_", env_file=".env", extra="ignore", frozen=True)

    home: Path = Field(default=Path("data"), description="Folder of landing files, lake, artifacts, database.")
    lake_url: str | None = Field(default=None, description="Folder or object-store URL of the lake; default HOME/lake.")
    database_url: SecretStr | None = Field(default=None, description="SQLAlchemy URL; default SQLite in HOME/within.db.")
    seed: int = Field(default=7, description="Seed of training, bootstrap and the demo agency.")
    demo_accounts: int = Field(default=24, ge=1, description="Accounts of the demo agency.")
    demo_days: int = Field(default=200, ge=60, description="Days of history of the demo agency.")
    encoder: str | None = Field(
        default=None,
        description="Name or folder of a text encoder, or several joined with `+`; `none` for none; default: the extra `text`.",
    )
    ad_score_objective: Literal["plain", "adversarial", "trades", "noise", "fair"] = Field(
        default="plain", description="What the ad score's network is trained for beside ranking: hardened, or fairer."
    )
    ad_score_objective_strength: float | None = Field(default=None, gt=0, description="How much of it; default depends on the objective.")
    threads: int = Field(default=2, ge=1, description="Threads for model fitting.")
    sensor_seconds: int = Field(default=60, ge=1, description="Seconds between two ticks of a sensor.")
    fixed_now: datetime | None = Field(default=None, description="Stops the clock of steps and sensors at this moment, for replays.")
    alerts_file: Path | None = Field(default=None, description="YAML file of alert channels; default HOME/alerts.yaml.")
    serve_traffic_key: str = Field(default="within", min_length=1, description="Key by which the HTTP API splits units, for canaries.")
    dagster_url: str = Field(default="http://127.0.0.1:3000", description="Address of the Dagster UI, for links in alerts.")

    @field_validator("fixed_now")
    @classmethod
    def _in_utc(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    @field_validator("home")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @cached_property
    def landing(self) -> Path:
        """Folder where exports arrive."""
        return self.home / "landing"

    @cached_property
    def alerts(self) -> Path:
        """File of alert channels; it need not exist."""
        return self.home / "alerts.yaml" if self.alerts_file is None else self.alerts_file.expanduser().absolute()

    @cached_property
    def lake(self) -> str:
        """Root of the lake."""
        return self.lake_url or str(self.home / "lake")

    @cached_property
    def calendar(self) -> Path:
        """File of planned changes and holidays (YAML); it need not exist."""
        return self.home / "calendar.yaml"

    @cached_property
    def releases(self) -> Path:
        """File that says how a version comes to serve (YAML); it need not exist."""
        return self.home / "release.yaml"

    @cached_property
    def retraining(self) -> Path:
        """File that says what a retraining costs and when one is worth it (YAML); it need not exist."""
        return self.home / "retraining.yaml"

    @cached_property
    def artifacts(self) -> Path:
        """Folder of model artifacts and reports."""
        return self.home / "artifacts"

    @cached_property
    def database(self) -> str:
        """SQLAlchemy URL with the driver spelled out.

        Raises `SettingsError` when a URL without a known driver is given."""
        if self.database_url is None:
            return f"sqlite:///{self.home / 'within.db'}"
        url = self.database_url.get_secret_value()
        for prefix in ("postgres://", "postgresql://"):
            if url.startswith(prefix):
                return "postgresql+psycopg2://" + url.removeprefix(prefix)
        if not url.startswith(("sqlite://", "postgresql+psycopg2://")):
            scheme = url.split(":", 1)[0]
            raise SettingsError(f"WITHIN_DATABASE_URL starts with {scheme!r}; give a sqlite:/// or postgresql:// URL.")
        return url
