"""Hand one message to one channel and say how that went. No retry and no clock here: the outbox decides when to try again.

A message may arrive twice after a crash between the receiver's answer and our note of it; no protocol here has a commit that spans both
sides. Every copy carries the same idempotency key (header `Idempotency-Key`, for e-mail the `Message-ID`), so a receiver can drop it."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import smtplib
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

from within_pipelines.exceptions import SettingsError
from within_pipelines.monitoring.channel_settings import Channel, EmailChannel, LogChannel, SlackChannel, WebhookChannel
from within_pipelines.monitoring.messages import AlertLine, body, subject

SIGNATURE_HEADER = "X-Within-Signature"
# No answer is read further than this; a receiver has nothing to say that needs more.
_MOST_READ = 4096
_LONGEST_WAIT = 3600.0


@dataclass(frozen=True, slots=True)
class Sent:
    """Whether the receiver took the message; `detail` never holds a secret. `wait_seconds` is what the receiver asked for, if it did."""

    ok: bool
    detail: str
    wait_seconds: float | None = None


def sign(secret: str, content: bytes, *, now: datetime) -> str:
    """Value of `X-Within-Signature`: `t=<unix time>,v1=<HMAC-SHA256 of "<t>." + body, hexadecimal>`."""
    stamp = str(int(now.timestamp()))
    return f"t={stamp},v1={_mac(secret, stamp, content)}"


def signature_holds(header: str, secret: str, content: bytes, *, now: datetime, tolerance_seconds: float = 300.0) -> bool:
    """Whether `header` was made from `content` with `secret` at most `tolerance_seconds` from `now`; for receivers.

    >>> from datetime import UTC
    >>> moment = datetime(2026, 7, 1, tzinfo=UTC)
    >>> header = sign("key", b"{}", now=moment)
    >>> signature_holds(header, "key", b"{}", now=moment), signature_holds(header, "key", b"[]", now=moment)
    (True, False)
    """
    parts = dict(part.split("=", 1) for part in header.split(",") if "=" in part)
    stamp = parts.get("t", "")
    if not (stamp.isascii() and stamp.isdigit()) or abs(now.timestamp() - int(stamp)) > tolerance_seconds:
        return False
    return hmac.compare_digest(parts.get("v1", "").encode(), _mac(secret, stamp, content).encode())


def _mac(secret: str, stamp: str, content: bytes) -> str:
    return hmac.new(secret.encode(), stamp.encode() + b"." + content, hashlib.sha256).hexdigest()


def send(
    channel: Channel,
    lines: Sequence[AlertLine],
    *,
    idempotency_key: str,
    now: datetime,
    environ: Mapping[str, str],
    log: Callable[[str], None],
) -> Sent:
    """Try once to hand over a message about `lines`. What goes wrong on the way is in the answer; nothing is raised for it."""
    try:
        match channel:
            case LogChannel():
                log(f"{subject(lines)}\n{body(lines)}")
                return Sent(True, "written to the log")
            case EmailChannel():
                return _mail(channel, lines, idempotency_key=idempotency_key, now=now, environ=environ)
            case SlackChannel():
                content = json.dumps({"text": f"*{_slack(subject(lines))}*\n{_slack(body(lines))}"}, ensure_ascii=False).encode()
                return _post(channel, content, idempotency_key=idempotency_key, headers={}, environ=environ)
            case WebhookChannel():
                content = webhook_body(lines, idempotency_key=idempotency_key)
                headers = {}
                if channel.secret_env is not None:
                    headers[SIGNATURE_HEADER] = sign(_secret(environ, channel.secret_env, channel.name), content, now=now)
                return _post(channel, content, idempotency_key=idempotency_key, headers=headers, environ=environ)
    except SettingsError as error:
        return Sent(False, str(error))


def webhook_body(lines: Sequence[AlertLine], *, idempotency_key: str) -> bytes:
    """The JSON of a generic webhook, equal for every attempt."""
    content = {"id": idempotency_key, "subject": subject(lines), "text": body(lines), "alerts": [line.to_dict() for line in lines]}
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()


def _secret(environ: Mapping[str, str], name: str, channel: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise SettingsError(f"The channel {channel} needs the environment variable {name}, which is not set; export it.")
    return value


def _slack(text: str) -> str:
    # Slack reads these three as markup: <!channel> in an account's name must not wake everybody.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _post(
    channel: SlackChannel | WebhookChannel, content: bytes, *, idempotency_key: str, headers: Mapping[str, str], environ: Mapping[str, str]
) -> Sent:
    address = channel.url if channel.url is not None else _secret(environ, channel.url_env or "", channel.name)
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme not in ("http", "https") or not host:
        return Sent(False, f"the address in {channel.url_env or 'url'} is no http:// or https:// address")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(host, port, timeout=channel.timeout_seconds, context=ssl.create_default_context())
    else:
        connection = http.client.HTTPConnection(host, port, timeout=channel.timeout_seconds)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    known = {
        "Content-Type": "application/json; charset=utf-8",
        "User-Agent": "within-pipelines",
        "Idempotency-Key": idempotency_key,
    }
    # A socket's timeout starts anew with every byte; this one ends the whole exchange.
    late = threading.Event()

    def hang_up() -> None:
        late.set()
        _hang_up(connection.sock)

    deadline = threading.Timer(channel.timeout_seconds * 2, hang_up)
    deadline.daemon = True
    deadline.start()
    try:
        connection.request("POST", path, body=content, headers={**known, **headers})
        answer = connection.getresponse()
        said = answer.read(_MOST_READ)
        if late.is_set():
            return Sent(False, f"{host} began an answer and did not end it within {channel.timeout_seconds * 2:g} s")
        return _judge(channel, answer, said)
    except (OSError, http.client.HTTPException, ValueError) as error:
        # ValueError: an answer whose numbers are none, or a host that cannot be encoded.
        return Sent(False, f"{host} did not take it: {_kind(error)}")
    finally:
        deadline.cancel()
        deadline.join()
        connection.close()


def _hang_up(opened: socket.socket | None) -> None:
    if opened is not None:
        with suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)


def _judge(channel: SlackChannel | WebhookChannel, answer: http.client.HTTPResponse, said: bytes) -> Sent:
    if 300 <= answer.status < 400:
        return Sent(False, f"answered {answer.status}, a redirect, which is not followed; give the final address")
    if not 200 <= answer.status < 300:
        return Sent(False, f"answered {answer.status}", _wait(answer.headers.get("Retry-After")))
    if said.lstrip()[:1] == b"<":
        return Sent(False, f"answered {answer.status} with a web page; the address is probably that of a login or error page")
    if isinstance(channel, SlackChannel) and not _slack_agreed(said):
        return Sent(False, f"answered {answer.status}, but not with ok as a Slack webhook does")
    return Sent(True, f"answered {answer.status}")


def _slack_agreed(said: bytes) -> bool:
    text = said.decode("utf-8", "replace").strip()
    if text.lower() == "ok":
        return True
    try:
        content: Any = json.loads(text)
    except ValueError:
        return False
    return isinstance(content, dict) and (content.get("ok") is True or content.get("success") is True)


def _wait(value: str | None) -> float | None:
    """Seconds in a Retry-After header; its date form and nonsense count as nothing."""
    if value is None or not (value.strip().isascii() and value.strip().isdigit()) or len(value) > 9:
        return None
    return min(_LONGEST_WAIT, float(value))


def _mail(channel: EmailChannel, lines: Sequence[AlertLine], *, idempotency_key: str, now: datetime, environ: Mapping[str, str]) -> Sent:
    message = EmailMessage()
    message["Subject"] = "".join(c for c in subject(lines) if c.isprintable())[:200]
    message["From"] = channel.sender
    message["To"] = ", ".join(channel.to)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = f"<{idempotency_key}@{channel.sender.split('@')[1]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(body(lines))
    try:
        context = ssl.create_default_context()
        timeout = channel.timeout_seconds
        server: smtplib.SMTP
        if channel.security == "tls":
            server = smtplib.SMTP_SSL(channel.host, channel.port, timeout=timeout, context=context)
        else:
            server = smtplib.SMTP(channel.host, channel.port, timeout=timeout)
        deadline = threading.Timer(timeout * 4, lambda: _hang_up(server.sock))
        deadline.daemon = True
        deadline.start()
        try:
            if channel.security == "starttls":
                server.starttls(context=context)
            if channel.username is not None and channel.password_env is not None:
                server.login(channel.username, _secret(environ, channel.password_env, channel.name))
            refused = server.send_message(message)
            # The message is taken; a farewell that goes wrong must not make it look lost.
            with suppress(OSError, smtplib.SMTPException):
                server.quit()
        finally:
            deadline.cancel()
            deadline.join()
            server.close()
    except (OSError, smtplib.SMTPException, ValueError) as error:
        return Sent(False, f"{channel.host} did not take it: {_kind(error)}")
    if refused:
        return Sent(True, f"taken, but not for {len(refused)} of {len(channel.to)} addresses")
    return Sent(True, "taken by the mail server")


def _kind(error: BaseException) -> str:
    """The kind of an error and its number, without its text: texts of servers and libraries may repeat what was sent."""
    code = getattr(error, "smtp_code", None) or getattr(error, "errno", None)
    return type(error).__name__ + (f" {code}" if code else "")
