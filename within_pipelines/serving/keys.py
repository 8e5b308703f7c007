"""Who may ask what? API keys: 256 random bits each, kept as a digest, with scopes, an end and a successor."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from within_pipelines.database import ApiKeyRecord
from within_pipelines.exceptions import SettingsError

SCOPES: tuple[str, ...] = ("score", "explain", "outcomes", "models", "metrics", "admin")
_PREFIX = "wk"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made: `text` is shown once and kept nowhere."""

    text: str
    record: ApiKeyRecord


def digest_of(secret: str, *, key_id: str) -> str:
    """BLAKE2b of the secret, bound to its key's id.

    One fast hash is enough: the secret has 256 random bits, so there is nothing to guess that a slow hash would protect."""
    return hashlib.blake2b(secret.encode(), key=key_id.encode(), digest_size=32).hexdigest()


def create_key(
    name: str, scopes: Iterable[str], *, now: datetime, valid_for: timedelta | None = None, replaces: str | None = None
) -> NewKey:
    """A new random key called `name`.

    Raises `SettingsError` for a scope that does not exist and for a name that is empty or too long."""
    wanted = tuple(dict.fromkeys(scopes))
    unknown = [scope for scope in wanted if scope not in SCOPES]
    if unknown or not wanted:
        raise SettingsError(f"The scopes {', '.join(unknown) or 'given'} are none; give some of {', '.join(SCOPES)}.")
    if not 0 < len(name) <= 128:
        raise SettingsError(f"A key's name has 1 to 128 characters, and this has {len(name)}; say who will use it.")
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    record = ApiKeyRecord(
        key_id=key_id,
        digest=digest_of(secret, key_id=key_id),
        name=name,
        scopes=wanted,
        issued_at=now,
        expires_at=None if valid_for is None else now + valid_for,
        replaces=replaces,
    )
    return NewKey(f"{_PREFIX}_{key_id}_{secret}", record)


class KeyRing:
    """The keys as last read from the database; it holds while the database is away."""

    def __init__(self, records: Sequence[ApiKeyRecord] = ()) -> None:
        self._records = {record.key_id: record for record in records}

    def __len__(self) -> int:
        return len(self._records)

    def find(self, text: str, *, now: datetime) -> ApiKeyRecord | None:
        """The key that `text` is, when it exists, holds, and its secret is right."""
        parts = text.split("_", 2)
        if len(parts) != 3 or parts[0] != _PREFIX:
            return None
        record = self._records.get(parts[1])
        # An unknown id costs the same as a wrong secret, so that time does not tell them apart.
        expected = record.digest if record is not None else "0" * 64
        right = hmac.compare_digest(expected.encode(), digest_of(parts[2], key_id=parts[1][:64] or "-").encode())
        return record if record is not None and right and record.holds(now) else None
