"""Receivers on loopback: a mail server and a webhook server that remember what came, and can be made to misbehave."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Request:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HttpReceiver:
    """Answers each request with the next of `answers` (raw bytes), the last one for ever; an empty answer hangs up."""

    answers: list[bytes] = field(default_factory=lambda: [OK])
    requests: list[Request] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"


def answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def http_receiver(*answers: bytes, drip: bool = False) -> Iterator[HttpReceiver]:
    """`drip` sends one byte a tenth of a second for ever instead of an answer."""
    receiver = HttpReceiver(list(answers) or [OK])
    closing = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            first = self.rfile.readline().decode("latin-1").split()
            headers: dict[str, str] = {}
            while (line := self.rfile.readline().decode("latin-1").strip()) != "":
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            body = self.rfile.read(int(headers.get("content-length", "0")))
            receiver.requests.append(Request(first[1] if len(first) > 1 else "", headers, body))
            if drip:
                try:
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                    while not closing.wait(0.1):
                        self.wfile.write(b"x")
                except OSError:
                    return
                return
            said = receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0]
            self.wfile.write(said)

    with _served(Handler) as port:
        receiver.port = port
        yield receiver
        closing.set()


@dataclass
class MailReceiver:
    """`refuse` is the answer to RCPT TO instead of taking the mail."""

    refuse: bytes = b""
    farewell: bytes = b"221 bye\r\n"
    greeting: bytes = b"220 loopback ESMTP\r\n"
    messages: list[bytes] = field(default_factory=list)
    port: int = 0


@contextmanager
def mail_receiver(**options: bytes) -> Iterator[MailReceiver]:
    receiver = MailReceiver(**options)  # type: ignore[arg-type]

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(receiver.greeting)
            while line := self.rfile.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    self.wfile.write(b"354 go ahead\r\n")
                    content = b""
                    while (part := self.rfile.readline()) not in (b".\r\n", b""):
                        content += part
                    receiver.messages.append(content)
                    self.wfile.write(b"250 taken\r\n")
                elif verb == b"RCPT" and receiver.refuse:
                    self.wfile.write(receiver.refuse)
                elif verb == b"QUIT":
                    self.wfile.write(receiver.farewell)
                    return
                else:
                    self.wfile.write(b"250 ok\r\n")

    with _served(Handler) as port:
        receiver.port = port
        yield receiver


@contextmanager
def _served(handler: type[socketserver.StreamRequestHandler]) -> Iterator[int]:
    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
