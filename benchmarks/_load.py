"""The load generator, a process of its own: keep-alive connections, requests at fixed times, whatever the server does.

Latency counts from the moment a request was due, so that a server that stalls cannot hide how long its callers waited."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

HEADS = ("Save", "Discover", "Try", "Meet", "Why choose", "Get", "Only today:", "New:", "Last chance for", "Your")
THINGS = ("running shoes", "garden chairs", "winter coats", "coffee beans", "city bikes", "desk lamps", "rain jackets", "yoga mats")
TAILS = ("with free delivery", "for less", "that last", "in every size", "made nearby", "for the whole family", "before summer")


def creative(number: int, *, distinct: int) -> dict[str, Any]:
    """The creative with this number; there are `distinct` of them."""
    n = number % distinct
    head, thing, tail = HEADS[n % 10], THINGS[n // 10 % 8], TAILS[n // 80 % 7]
    return {
        "headline": f"{head} {thing} {tail} {n // 560 or ''}".strip(),
        "description": f"{THINGS[n % 8].capitalize()} {TAILS[n % 7]}",
        "call_to_action": "Shop now",
        "format": "image",
        "platform": "meta_ads",
        "audience_segment": "women 25-34",
        "account_ctr": 0.012,
    }


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes) -> tuple[int, bytes]:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    status = int((await reader.readline()).split()[1])
    length = 0
    while (line := await reader.readline()) not in (b"\r\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, await reader.readexactly(length)


async def load(
    port: int, *, path: str, rate: float, seconds: float, distinct: int, connections: int = 32, first: int = 0
) -> list[dict[str, Any]]:
    """Ask `rate` times a second; one entry a request: its number, status, milliseconds, and the answer."""
    free: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(connections):
        free.put_nowait(None)
    answers: list[dict[str, Any]] = []

    async def one(number: int, due: float) -> None:
        connection = await free.get()
        status, content = 0, b""
        for attempt in range(2):
            try:
                if connection is None:
                    connection = await asyncio.open_connection("127.0.0.1", port)
                status, content = await _ask(*connection, path, json.dumps({"creative": creative(number, distinct=distinct)}).encode())
                break
            except (OSError, IndexError, asyncio.IncompleteReadError):
                if connection is not None:
                    connection[1].close()
                connection = None
                if attempt == 0:
                    continue
        free.put_nowait(connection)
        answers.append({"number": number, "status": status, "ms": 1000 * (time.perf_counter() - due), "body": content.decode()})

    tasks = []
    start = time.perf_counter()
    for number in range(int(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(one(first + number, due)))
    await asyncio.gather(*tasks)
    while not free.empty():
        connection = free.get_nowait()
        if connection is not None:
            connection[1].close()
    return answers


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    started = time.process_time()
    found = asyncio.run(load(**options))
    json.dump({"answers": found, "cpu": time.process_time() - started}, sys.stdout)
