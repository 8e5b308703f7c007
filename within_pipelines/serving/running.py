"""Listen until told to stop."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn

from within_pipelines.serving.app import create_app
from within_pipelines.serving.logs import event, log_to
from within_pipelines.serving.settings import ServeSettings

if TYPE_CHECKING:
    from within_pipelines.pipeline import Workspace

_GRACE_SECONDS = 15
# Python hands the interpreter from thread to thread every 5 ms by default; a request should not wait that long for its turn.
_SWITCH_SECONDS = 0.001


def serve(ws: Workspace, settings: ServeSettings, *, listening: Callable[[str], None] | None = None) -> None:
    """Serve the API until SIGTERM or SIGINT: then no new connection is taken, what is running is answered and written down.

    SIGHUP reads aliases and keys at once. `listening` is told the URL when the port is bound.

    Raises `OSError` when the address cannot be bound."""
    log_to()
    sys.setswitchinterval(_SWITCH_SECONDS)
    app = create_app(ws, settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((settings.host, settings.port))
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        url = f"http://{host}:{bound.getsockname()[1]}"
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            timeout_keep_alive=30,
            lifespan="on",
        )
        server = uvicorn.Server(config)
        signal.signal(signal.SIGHUP, lambda *_: app.state.server.refresh_soon())
        event("starting", url=url, keys_needed=settings.needs_key, durable=settings.durable)
        if listening is not None:
            listening(url)
        server.run(sockets=[bound])
