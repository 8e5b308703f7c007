"""Which channels there are: a YAML file with a schema; secrets stay in the environment, the file names only the variables."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from within_pipelines.exceptions import SettingsError
from within_pipelines.monitoring.alerts import Severity


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is no time zone; give a name like Europe/Berlin") from None
    return value


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class QuietTime(_Strict):
    """Hours in which only `let_through` and worse is sent at once; the rest waits for `end`."""

    start: time
    end: time
    timezone: str = "UTC"
    let_through: Severity = Severity.CRITICAL

    _zone = field_validator("timezone")(_known_zone)

    @model_validator(mode="after")
    def _not_empty(self) -> QuietTime:
        if self.start == self.end:
            raise ValueError("quiet hours start and end at the same time; leave them out instead")
        return self


class _Channel(_Strict):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    minimum: Severity = Severity.INFO
    immediately_from: Severity = Severity.WARNING
    digest_at: time = time(8)
    timezone: str = "UTC"
    group_minutes: int = Field(default=30, ge=0, le=1440)
    most_per_hour: int = Field(default=20, ge=1)
    quiet: QuietTime | None = None
    escalations: bool = True
    recoveries: bool = True
    timeout_seconds: float = Field(default=5.0, gt=0, le=30)

    _zone = field_validator("timezone")(_known_zone)


class LogChannel(_Channel):
    """The log of the delivering process: in Dagster the tick's log, on the command line the terminal."""

    kind: Literal["log"]


class EmailChannel(_Channel):
    """SMTP. `password_env` names the variable that holds the password."""

    kind: Literal["email"]
    host: str
    port: int = Field(default=587, ge=1, le=65535)
    security: Literal["starttls", "tls", "none"] = "starttls"
    sender: str = Field(pattern=r"^[^\s@]+@[^\s@]+$")
    to: tuple[Annotated[str, Field(pattern=r"^[^\s@]+@[^\s@]+$")], ...] = Field(min_length=1)
    username: str | None = None
    password_env: str | None = None


class _Http(_Channel):
    url: str | None = None
    url_env: str | None = None

    @model_validator(mode="after")
    def _one_url(self) -> _Http:
        if (self.url is None) == (self.url_env is None):
            raise ValueError("give either url or url_env (the variable that holds the address)")
        if self.url is not None and (urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname):
            raise ValueError("url is no http:// or https:// address")
        return self


class SlackChannel(_Http):
    """An incoming webhook of Slack or of what imitates it. The address is a secret: give `url_env`."""

    kind: Literal["slack"]


class WebhookChannel(_Http):
    """JSON to any address, signed with HMAC-SHA256 when `secret_env` names a variable with the key."""

    kind: Literal["webhook"]
    secret_env: str | None = None


Channel = LogChannel | EmailChannel | SlackChannel | WebhookChannel


class AlertSettings(_Strict):
    """Everything in the alerts file. Without a file there is one channel, the log.

    `escalate_after_minutes`: an alert of at least `escalate_from` that nobody has acknowledged for so long is sent again.
    `false_alerts_per_week`: how many false account alerts are acceptable; the budget of the account alerts."""

    channels: tuple[Annotated[Channel, Field(discriminator="kind")], ...] = (LogChannel(kind="log", name="log"),)
    escalate_after_minutes: int = Field(default=120, ge=1)
    escalate_from: Severity = Severity.CRITICAL
    false_alerts_per_week: float = Field(default=3.5, gt=0)

    @field_validator("channels")
    @classmethod
    def _names_differ(cls, value: tuple[Channel, ...]) -> tuple[Channel, ...]:
        names = [channel.name for channel in value]
        if len(set(names)) < len(names):
            raise ValueError(f"two channels have one name: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
        return value

    def channel(self, name: str) -> Channel:
        """The channel of this name.

        Raises `SettingsError` when there is none."""
        for channel in self.channels:
            if channel.name == name:
                return channel
        raise SettingsError(f"There is no channel {name!r}; the alerts file has {', '.join(c.name for c in self.channels) or 'none'}.")


def read_alert_settings(path: Path) -> AlertSettings:
    """The alerts file at `path`; the defaults when there is none.

    Raises `SettingsError` when it is no YAML or breaks the schema; the message names the place and never repeats a value, because a
    secret may have been put there by mistake."""
    import yaml

    if not path.is_file():
        return AlertSettings()
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise SettingsError(f"{path} is not readable as YAML{where}; correct it, or move it away to have only the log.") from None
    if not isinstance(content, Mapping):
        raise SettingsError(f"{path} holds no mapping; start with `channels:` (docs/alerts-and-retraining.md has an example).")
    try:
        # JSON mode: YAML has times as numbers of minutes (8:00 is 480), which the schema reads back.
        return AlertSettings.model_validate({name: _with_times(value) for name, value in content.items()})
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise SettingsError(f"{path}: {place}: {problem['msg']}; correct it (docs/alerts-and-retraining.md has an example).") from None


_TIMES = frozenset({"digest_at", "start", "end"})


def _with_times(value: Any) -> Any:
    """YAML 1.1 reads 22:30 as 1350 minutes; give the time of day back."""
    if isinstance(value, list):
        return [_with_times(entry) for entry in value]
    if not isinstance(value, dict):
        return value
    return {
        key: f"{entry // 60:02d}:{entry % 60:02d}" if key in _TIMES and type(entry) is int and 0 <= entry < 1440 else _with_times(entry)
        for key, entry in value.items()
    }
