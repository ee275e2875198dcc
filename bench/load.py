"""The other side: a process of its own that plays clients over plain sockets, and says what it saw as JSON.

    python -m bench.load KIND '{"port": 8000, ...}'

The bytes to send are made before the clock starts, so that sending is one system call after the other, and the
server is what is waited for. It knows nothing of servers, and no server knows it. What it waits for is bounded.
"""

import hashlib
import json
import os
import resource
import select
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import monotonic, perf_counter, process_time, sleep
from typing import Final, NamedTuple

LAST_CHUNK: Final = b"0\r\n\r\n"
PATIENCE: Final = 20.0  # seconds without a byte of an answer until a client gives up
BLOCK: Final = 1 << 20  # bytes; larger bodies than `WHOLE` are one random block, repeated
WHOLE: Final = 64 << 20
TRICKLE: Final = 512  # bytes a slow client sends at once
TRICKLE_PAUSE: Final = 0.05  # seconds
FIRST_CALLER: Final = 2  # 127.0.0.2; more than one address, because each has 28,000 ports
CALLERS: Final = 4

Seen = dict[str, float]


class Answer(NamedTuple):
    """A response, read to its end; `kept` says whether the connection may be used again."""

    status: int
    body: bytes
    kept: bool


class Client:
    """One client that sends requests one after the other, over one connection as long as the server keeps it."""

    def __init__(self, port: int, patience: float = PATIENCE) -> None:
        self._address = ("127.0.0.1", port)
        self._patience = patience
        self._socket: socket.socket | None = None

    def exchange(self, pieces: list[bytes]) -> Answer:
        """Send a request; return its answer. Raises OSError where there is none."""
        if self._socket is None:
            self._socket = socket.create_connection(self._address, self._patience)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                self._socket.sendall(piece)
            answer = read_answer(self._socket)
        except OSError:
            self.close()
            raise
        if not answer.kept:
            self.close()
        return answer

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def read_answer(sock: socket.socket) -> Answer:
    """Read one response with a Content-Length, or up to the end of the connection."""
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        piece = sock.recv(65536)
        if not piece:
            raise ConnectionResetError("the server closed without an answer")
        data += piece
    status, fields = parse_head(data[:end])
    body = data[end + 4 :]
    length = fields.get("content-length")
    while length is None or len(body) < int(length):
        piece = sock.recv(65536)
        if not piece:
            break
        body += piece
    return Answer(status, body, length is not None and fields.get("connection", "").lower() != "close")


def parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return int(lines[0].split()[1]), fields


# --- kinds of load ----------------------------------------------------------------------------------------------


def get(port: int, path: str, clients: int, pause: float, seconds: float, patience: float = PATIENCE) -> Seen:
    """Ask for `path` again and again, each client `pause` seconds after its last answer."""
    request = [f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode("ascii")]
    times: list[float] = []
    failed: list[str] = []

    def play(end: float) -> None:
        client = Client(port, patience)
        while monotonic() < end:
            began = perf_counter()
            try:
                answered = client.exchange(request).status == 200  # noqa: PLR2004 - OK
            except OSError:
                answered = False
            (times if answered else failed).append(perf_counter() - began)  # type: ignore[arg-type] # counted only
            sleep(pause)
        client.close()

    took = together(play, clients, seconds)
    return {"count": len(times), "failed": len(failed)} | took | percentiles(times)


def uploads(port: int, path: str, size: int, chunk: int, clients: int, seconds: float) -> Seen:
    """Send bodies one after the other, and compare the SHA-256 that comes back. `chunk` 0: with a Content-Length."""
    prepared = [upload_request(path, size, chunk) for _ in range(clients)]
    digests: list[float] = []  # CPU seconds that the view says its hashing took
    wrong: list[str] = []
    waiting = iter(prepared)

    def play(end: float) -> None:
        request, expected = next(waiting)
        client = Client(port)
        while not wrong:
            try:
                answer = client.exchange(request)
            except OSError as error:
                wrong.append(f"no answer: {error}")
                break
            found, _, spent = answer.body.decode("latin-1").partition(" ")
            if found != expected:
                wrong.append(f"status {answer.status}, another body than was sent")
                break
            digests.append(float(spent))
            if monotonic() >= end:
                break
        client.close()

    took = together(play, clients, seconds)
    return {"count": len(digests), "wrong": len(wrong), "digest": sum(digests)} | took


def upload_request(path: str, size: int, chunk: int) -> tuple[list[bytes], str]:
    """Return a request in pieces to send, and the SHA-256 of its body."""
    block = os.urandom(size if size <= WHOLE else BLOCK)
    blocks = size // len(block)
    digest = hashlib.sha256()
    for _ in range(blocks):
        digest.update(block)
    head = f"PUT {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/octet-stream\r\n"
    if not chunk:
        return [f"{head}Content-Length: {size}\r\n\r\n".encode("ascii"), *[block] * blocks], digest.hexdigest()
    framed = b"".join(framed_chunks(block, chunk))
    head += "Transfer-Encoding: chunked\r\n\r\n"
    return [head.encode("ascii"), *[framed] * blocks, b"0\r\n\r\n"], digest.hexdigest()


def framed_chunks(data: bytes, chunk: int) -> Iterator[bytes]:
    for start in range(0, len(data), chunk):
        piece = data[start : start + chunk]
        yield b"%x\r\n%b\r\n" % (len(piece), piece)


def downloads(port: int, path: str, size: int, clients: int, seconds: float) -> Seen:
    """Fetch `path` again and again, each time on a connection of its own, and count what comes."""
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode("ascii")
    done: list[bool] = []

    def play(end: float) -> None:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), PATIENCE) as sock:
                    sock.sendall(request)
                    done.append(came_whole(sock, size))
            except OSError:
                done.append(False)
            if monotonic() >= end:
                break

    took = together(play, clients, seconds)
    return {"count": done.count(True), "wrong": done.count(False)} | took


def came_whole(sock: socket.socket, size: int) -> bool:
    """Read an answer with a body of `size` bytes. Not every server closes when asked to, so its end is looked for."""
    buffer = memoryview(bytearray(256 * 1024))
    head, _, body = sock.recv(65536).partition(b"\r\n\r\n")
    chunked = b"transfer-encoding: chunked" in head.lower()
    received, tail = len(body), body[-len(LAST_CHUNK) :]
    while (tail != LAST_CHUNK if chunked else received < size) and (count := sock.recv_into(buffer)):
        received += count
        tail = (tail + bytes(buffer[max(0, count - len(LAST_CHUNK)) : count]))[-len(LAST_CHUNK) :]
    return tail == LAST_CHUNK and received > size if chunked else received == size


def trickle(port: int, path: str, clients: int, seconds: float) -> Seen:
    """Upload so slowly that nothing is complete before the time is over."""
    piece = b"\0" * TRICKLE
    head = f"PUT {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {1 << 30}\r\n\r\n".encode("ascii")
    sockets = [socket.create_connection(("127.0.0.1", port), PATIENCE) for _ in range(clients)]
    for sock in sockets:
        sock.setblocking(False)
        sock.send(head)
    announce({"ready": clients})
    end, alive = monotonic() + seconds, list(sockets)
    while alive and monotonic() < end:
        began = monotonic()
        alive = [sock for sock in alive if _sent(sock, piece)]
        sleep(max(0.0, TRICKLE_PAUSE - (monotonic() - began)))
    for sock in sockets:
        sock.close()
    return {"clients": clients, "alive": len(alive)}


def _sent(sock: socket.socket, data: bytes) -> bool:
    """Send what the server takes; False when it has hung up."""
    with suppress(BlockingIOError):
        try:
            sock.send(data)
        except ConnectionError:
            return False
    return True


def idle(port: int, path: str, connections: int, patience: float, seconds: float) -> Seen:
    """Open connections, one request on each, and keep them until a line comes on standard input.

    `late` is 1 if there were not enough of them after `seconds`.
    """
    end = monotonic() + seconds
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n".encode("ascii")
    kept: list[socket.socket] = []
    for number in range(connections):
        caller = f"127.0.0.{FIRST_CALLER + number % CALLERS}"
        try:
            sock = socket.create_connection(("127.0.0.1", port), patience, (caller, 0))
            sock.sendall(request)
            if not read_answer(sock).kept:
                break
        except OSError:
            break
        kept.append(sock)
        if monotonic() > end:
            break
    late = len(kept) < connections and monotonic() > end
    announce({"ready": len(kept)})
    sys.stdin.readline()
    return {"late": late, "open": len(kept) - _hung_up(kept)}


def _hung_up(sockets: list[socket.socket]) -> int:
    watched = select.poll()
    for sock in sockets:
        watched.register(sock, select.POLLIN)
    return len(watched.poll(0))


# --- what they share --------------------------------------------------------------------------------------------


def together(play: Callable[[float], None], clients: int, seconds: float) -> Seen:
    """Run `play(end)` in a thread for each client; returns how long it took, and how long this process computed."""
    began, computed = monotonic(), process_time()
    threads = [threading.Thread(target=play, args=(began + seconds,), daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds + PATIENCE)
    return {"elapsed": monotonic() - began, "load": process_time() - computed}


def percentiles(times: list[float]) -> Seen:
    """Return `p50` and `p99`, in seconds; infinite where nothing was answered."""
    if not times:
        return {"p50": float("inf"), "p99": float("inf")}
    ordered = sorted(times)
    return {"p50": ordered[len(ordered) // 2], "p99": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]}


def announce(seen: Seen) -> None:
    print(json.dumps(seen), flush=True)


KINDS: Final[dict[str, Callable[..., Seen]]] = {
    "get": get,
    "uploads": uploads,
    "downloads": downloads,
    "trickle": trickle,
    "idle": idle,
}


def main() -> None:
    kind, arguments = sys.argv[1], json.loads(sys.argv[2])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    announce(KINDS[kind](**arguments))


if __name__ == "__main__":
    main()
