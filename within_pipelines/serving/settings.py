"""Which knobs the HTTP API has. Every one is an environment variable with the prefix `WITHIN_SERVE_`."""

from __future__ import annotations

import ipaddress

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServeSettings(BaseSettings):
    """Where the API listens and what it allows.

    >>> ServeSettings().needs_key, ServeSettings(host="0.0.0.0").needs_key
    (False, True)
    """

    model_config = SettingsConfigDict(env_prefix="WITHIN_SERVE_", env_file=".env", extra="ignore", frozen=True)

    host: str = Field(default="127.0.0.1", description="Address to bind. Anything but loopback needs API keys.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port; 0 for a free one.")
    require_key: bool = Field(default=False, description="Ask for a key on loopback too.")
    poll_seconds: float = Field(default=5.0, gt=0, description="How often aliases and keys are read again.")
    body_limit: int = Field(default=1_000_000, ge=1, description="Largest request body in bytes.")
    rate_per_second: float = Field(default=200.0, gt=0, description="Requests per second and key, sustained.")
    rate_burst: int = Field(default=400, ge=1, description="Requests that a key may make at once.")
    timeout_seconds: float = Field(default=10.0, gt=0, description="Longest time for one answer.")
    batch_most: int = Field(default=32, ge=1, description="Requests that are computed together at most.")
    batch_wait_ms: float = Field(default=0.0, ge=0, description="How long to wait for companions when none is waiting.")
    waiting_most: int = Field(default=512, ge=1, description="Requests that may wait for a model; more are turned away with 503.")
    log_queue: int = Field(default=10_000, ge=1, description="Answers that may wait to be written down.")
    durable: bool = Field(default=False, description="Answer only when the prediction is on disk.")
    log_inputs: bool = Field(default=True, description="Keep the inputs with the logged predictions.")
    spool_rows: int = Field(default=2_000, ge=1, description="Records per spool file.")
    load_seconds: float = Field(default=5.0, gt=0, description="How often spool files are closed and loaded into the database.")
    shadow: bool = Field(default=True, description="Let the version under the alias shadow answer beside.")
    shadow_queue: int = Field(default=1_000, ge=1, description="Requests that may wait for the shadow; more are dropped and counted.")
    traffic_key: str = Field(default="within", min_length=1, description="Key of the stable hash that assigns units to arms.")

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def needs_key(self) -> bool:
        """Whether a request without a key is refused."""
        return self.require_key or not self.loopback
