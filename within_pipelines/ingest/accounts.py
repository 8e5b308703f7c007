"""What exports do not say about an account: its currency and time zone, in `landing/accounts.yaml`."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from within_pipelines.exceptions import MappingError

ACCOUNTS_FILE = "accounts.yaml"


class Account(BaseModel):
    """One advertising account."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$", description="ISO 4217 code.")
    timezone: str = Field(default="UTC", description="IANA name of the account's time zone.")
    name: str | None = None
    platform: str | None = None

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is no IANA time zone; write for example Europe/Berlin") from error
        return value


def plain_account(account: str) -> str:
    """An account id as the lake keeps it: without Google's dashes and Meta's "act_".

    >>> plain_account("123-456-7890"), plain_account("act_42")
    ('1234567890', '42')
    """
    text = account.strip().removeprefix("act_")
    digits = text.replace("-", "")
    return digits if digits.isdigit() else text


class AccountsFile(BaseModel):
    """Accounts by id."""

    model_config = ConfigDict(frozen=True)

    accounts: dict[str, Account] = Field(default_factory=dict)

    def get(self, account: str) -> Account | None:
        """The account's entry, whatever way its id is written."""
        return self.accounts.get(plain_account(account))

    @property
    def only(self) -> str | None:
        """The id of the file's single account, None when there are several or none."""
        return next(iter(self.accounts)) if len(self.accounts) == 1 else None


def load_accounts(path: Path) -> AccountsFile:
    """Read an accounts file: a mapping of account id to `currency`, `timezone` and `name`.

    Raises `MappingError` when it is no YAML or breaks the schema."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MappingError(
            f"{path.name} is no valid YAML ({error}); write `<account id>: {{currency: EUR, timezone: Europe/Berlin}}`."
        ) from error
    if content is None:
        return AccountsFile()
    if isinstance(content, dict) and set(content) == {"accounts"}:
        content = content["accounts"]
    if not isinstance(content, dict):
        raise MappingError(f"{path.name} holds a {type(content).__name__}; wanted account ids with their currency and timezone.")
    try:
        return AccountsFile(accounts={plain_account(str(key)): Account.model_validate(value or {}) for key, value in content.items()})
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise MappingError(f"{path.name}: {where}: {problem['msg']}.") from error
