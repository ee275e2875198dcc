"""Many clients that are slow on purpose: `python trickle.py HOST PORT COUNT HOW`, in a container (see test_17_slow.py).

Each client begins a request and sends a piece of it now and then. It reconnects after its connection was closed, but
not after a 429. For each line on stdin, the program prints JSON, {"open": 3, "429": 2}: open connections and answers
so far. The clients end with stdin.
"""

import asyncio
import collections
import contextlib
import json
import socket
import sys
from dataclasses import dataclass

PAUSE = 0.5  # seconds between two pieces
_FIELDS = b"HTTP/1.1\r\nHost: localhost\r\n"
_BODY = _FIELDS + b"Authorization: Token slow\r\n"  # or nginx would refuse the body


@dataclass(frozen=True)
class Way:
    """The first bytes, and the bytes sent now and then; without these, the client reads the answer slowly."""

    first: bytes
    then: bytes = b""


WAYS = {
    "heads": Way(b"GET / " + _FIELDS + b"X-Slow: ", b"x"),
    "bodies": Way(b"PUT /api/photos/slow.jpg " + _BODY + b"Content-Length: 100000\r\n\r\n", b"x"),
    "chunks": Way(b"PUT /api/photos/slow.jpg " + _BODY + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "streamed": Way(b"PUT /streamed/api/photos/slow.jpg " + _BODY + b"Content-Length: 100000\r\n\r\n", b"x"),
}
report: collections.Counter[str] = collections.Counter()


async def be_slow(host: str, port: int, way: Way) -> None:
    while True:
        reader, writer = await connect(host, port)
        report["open"] += 1
        status = ""
        with contextlib.suppress(ConnectionError):
            writer.write(way.first)
            while not (status := await status_meanwhile(reader, way)):
                writer.write(way.then)
        report["open"] -= 1
        writer.close()
        report[status or "closed"] += 1
        if status == "429":
            return


async def connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with the smallest receive buffer, or the kernel would read the whole answer."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    address = await asyncio.get_running_loop().getaddrinfo(host, port, family=socket.AF_INET)
    await asyncio.get_running_loop().sock_connect(sock, address[0][4])
    return await asyncio.open_connection(sock=sock, limit=64)


async def status_meanwhile(reader: asyncio.StreamReader, way: Way) -> str:
    """The status of an answer that came in the pause; "closed"; or "" without an answer, or while one is read."""
    try:
        line = await asyncio.wait_for(reader.read(16), PAUSE)
    except TimeoutError:
        return ""
    if not line:
        return "closed"
    if not way.then and (b" 200 " in line or not line.startswith(b"HTTP/")):
        await asyncio.sleep(PAUSE)
        return ""
    return line.split()[1].decode()


async def main() -> None:
    host, port, count, how = sys.argv[1:]
    way = WAYS.get(how) or Way(b"GET " + how.encode() + b" " + _FIELDS + b"\r\n")
    clients = [asyncio.create_task(be_slow(host, int(port), way)) for _ in range(int(count))]
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(report), flush=True)
        for client in clients:
            if client.done():
                client.result()  # raises the error of a client
    for client in clients:
        client.cancel()


if __name__ == "__main__":
    asyncio.run(main())
