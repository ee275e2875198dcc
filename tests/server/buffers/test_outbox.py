"""Pending output for a slow client: ordered, complete and bounded. The socket pair has the smallest buffers."""

import fcntl
import hashlib
import os
import random
import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.server.harness import limited
from tests.wire.polling import PATIENCE
from wsgiserver.buffers.budget import SharedBudget
from wsgiserver.buffers.outbox import FILE_FLUSH_SIZE, MAX_PENDING, MAX_PENDING_IN_MEMORY, Outbox
from wsgiserver.errors import ApplicationError, ClientGone

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Return the server's non-blocking socket and the client's socket."""
    server, client = socket.socketpair()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    server.setblocking(False)
    client.settimeout(PATIENCE)
    with server, client:
        yield server, client


Make = Callable[..., Outbox]


@pytest.fixture
def make(pair: Pair) -> Iterator[Make]:
    """Create outboxes on the server's socket and drop them after the test."""
    outboxes: list[Outbox] = []

    def outbox(patience: float = PATIENCE, folder: str | None = None, sock: socket.socket | None = None) -> Outbox:
        outboxes.append(Outbox(sock or pair[0], folder, patience))
        return outboxes[-1]

    yield outbox
    for created in outboxes:
        created.drop()


class Reader(threading.Thread):
    """Reads everything in pieces, with an optional pause between them."""

    def __init__(self, client: socket.socket, *, piece_size: int = 1 << 16, pause: float = 0.0) -> None:
        super().__init__()
        self._client, self._piece_size, self._pause = client, piece_size, pause
        self.size = 0
        self._hash = hashlib.sha256()
        self.start()

    def run(self) -> None:
        while data := self._client.recv(self._piece_size):
            self.size += len(data)
            self._hash.update(data)
            time.sleep(self._pause)

    def digest(self) -> str:
        self.join(PATIENCE)
        assert not self.is_alive()
        return self._hash.hexdigest()


def flush_all(outbox: Outbox, server: socket.socket) -> None:
    """Flush as the loop does: wait until the socket accepts more."""
    while not outbox.flush():
        assert select.select([], [server], [], PATIENCE)[1]


def check(pair: Pair, outbox: Outbox, pieces: list[bytes]) -> None:
    """The client starts to read after the last send and receives everything in order."""
    server, client = pair
    for piece in pieces:
        outbox.send(piece)
    reader = Reader(client)
    flush_all(outbox, server)
    assert outbox.is_empty
    server.shutdown(socket.SHUT_WR)
    assert reader.digest() == hashlib.sha256(b"".join(pieces)).hexdigest()


@pytest.mark.parametrize(
    "sizes",
    [
        [0],
        [1],
        [1, 0, 1],
        [100_000],
        [100_000] * 5,
        [1] * 20_000,
        [MAX_PENDING_IN_MEMORY, 1],
        [MAX_PENDING_IN_MEMORY + 1],
        [10_000] * 100,
        [MAX_PENDING_IN_MEMORY * 10, 1, MAX_PENDING_IN_MEMORY * 3],
    ],
)
def test_data_is_sent_in_order(pair: Pair, make: Make, sizes: list[int]) -> None:
    chance = random.Random(7)
    check(pair, make(), [chance.randbytes(size) for size in sizes])


def test_nothing_is_buffered_that_the_socket_accepts(pair: Pair, make: Make) -> None:
    outbox = make()
    outbox.send(b"x" * 100)
    assert outbox.is_empty
    assert outbox.flush()
    assert pair[1].recv(1000) == b"x" * 100


def test_flush_reports_whether_the_outbox_is_empty(pair: Pair, make: Make) -> None:
    client = pair[1]
    outbox = make()
    outbox.send(b"x" * 500_000)
    assert not outbox.is_empty
    assert not outbox.flush()
    client.recv(1 << 20)
    outbox.flush()
    assert not outbox.is_empty
    outbox.drop()
    assert outbox.is_empty


@pytest.mark.parametrize("block", [MAX_PENDING * 2, 1 << 20])
def test_a_producer_far_ahead_waits_for_its_client(pair: Pair, make: Make, block: int) -> None:
    """One block above the limit and many small blocks are treated the same."""
    server, client = pair
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 18)  # this test is about amounts
    outbox = make()
    data = random.Random(3).randbytes(1 << 20) * (block >> 20)
    expected = hashlib.sha256()
    reader = Reader(client)
    for _ in range(MAX_PENDING * 2 // block):
        outbox.send(data)
        expected.update(data)
    flush_all(outbox, server)
    server.shutdown(socket.SHUT_WR)
    assert reader.digest() == expected.hexdigest()


def test_the_buffer_for_a_client_that_reads_nothing_is_limited(pair: Pair, make: Make) -> None:
    with pytest.raises(ClientGone):
        make(0.1).send(b"x" * (MAX_PENDING * 2))
    assert pair[1].recv(1) == b"x"


def test_nothing_is_sent_after_a_client_has_timed_out(pair: Pair, make: Make) -> None:
    """An application that swallows the exception must not send more: the output before it has a gap."""
    client = pair[1]
    outbox = make(0.1)
    with pytest.raises(ClientGone):
        outbox.send(b"x" * (MAX_PENDING * 2))
    while select.select([client], [], [], 0)[0]:
        client.recv(1 << 20)
    for attempt in (lambda: outbox.send(b"y"), outbox.flush):
        with pytest.raises(ClientGone):
            attempt()
    assert not select.select([client], [], [], 0)[0]


@pytest.mark.parametrize("file_limit", [0, 10_000, MAX_PENDING_IN_MEMORY, MAX_PENDING_IN_MEMORY + 10_000, 1_000_001])
def test_a_full_disk_slows_down_and_loses_nothing(pair: Pair, make: Make, tmp_path: Path, file_limit: int) -> None:
    server, client = pair
    pieces = [random.Random(n).randbytes(50_001) for n in range(40)] + [random.Random(1).randbytes(900_000)]
    outbox = make(folder=str(tmp_path))
    reader = Reader(client, pause=0.0005)
    with limited(resource.RLIMIT_FSIZE, file_limit):
        for piece in pieces:
            outbox.send(piece)
        flush_all(outbox, server)
    server.shutdown(socket.SHUT_WR)
    assert reader.digest() == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_a_client_that_disconnects_with_data_pending_raises_client_gone(pair: Pair, make: Make) -> None:
    client = pair[1]
    outbox = make()
    outbox.send(b"x" * 500_000)
    client.close()
    with pytest.raises(ClientGone):
        outbox.flush()
    outbox.drop()
    with pytest.raises(ClientGone):
        outbox.send(b"x")


def test_a_client_that_disconnects_ends_the_wait_of_the_producer(pair: Pair, make: Make) -> None:
    """Otherwise the wait would exceed the time limit of a test."""
    client = pair[1]
    outbox = make(3600)
    leaving = threading.Timer(0.2, client.close)
    leaving.start()
    with pytest.raises(ClientGone):
        outbox.send(b"x" * (MAX_PENDING * 2))
    leaving.join()


def test_waiting_for_a_client_works_with_descriptors_above_1023(pair: Pair, make: Make) -> None:
    """A busy server has such descriptors, and select() does not accept them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with limited(resource.RLIMIT_NOFILE, max(soft, min(hard, 2048))):
        server = socket.socket(fileno=fcntl.fcntl(pair[0].fileno(), fcntl.F_DUPFD_CLOEXEC, 1100))
        with server, pytest.raises(ClientGone):
            make(0.1, sock=server).send(b"x" * (MAX_PENDING * 2))


# --- Shared memory -----------------------------------------------------------------------------------------------


class Many:
    """Outboxes of one process, each with a client, and their shared budget."""

    def __init__(self, count: int, budget: int, folder: str | None) -> None:
        self.budget = SharedBudget(budget)
        self.pairs = [socket.socketpair() for _ in range(count)]
        for server, client in self.pairs:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            server.setblocking(False)
            client.settimeout(PATIENCE)
        self.outboxes = [Outbox(server, folder, PATIENCE, self.budget) for server, _ in self.pairs]

    def close(self) -> None:
        for outbox in self.outboxes:
            outbox.drop()
        for pair in self.pairs:
            for sock in pair:
                sock.close()


SIZES = [1, 100_000, MAX_PENDING_IN_MEMORY, 10, MAX_PENDING_IN_MEMORY + 1, 200_000, 50_000, 1 << 20]
SHARED = 400_000  # bytes, for all outboxes


def test_the_memory_of_all_outboxes_together_is_bounded() -> None:
    """Output beyond the budget goes to files. Each client gets its complete output, and the memory is released."""
    many = Many(len(SIZES), SHARED, None)
    data = [random.Random(size).randbytes(size) for size in SIZES]
    for outbox, each in zip(many.outboxes, data, strict=True):
        outbox.send(each)
        assert many.budget.left >= 0
    in_memory = [outbox._pending.size for outbox in many.outboxes if outbox._pending and outbox._pending.in_memory]  # noqa: SLF001
    assert sum(in_memory) == SHARED - many.budget.left
    assert many.budget.left < MAX_PENDING_IN_MEMORY, "the budget is used"
    for outbox, (server, client), each in zip(many.outboxes, many.pairs, data, strict=True):
        reader = Reader(client)
        flush_all(outbox, server)
        server.shutdown(socket.SHUT_WR)
        assert reader.digest() == hashlib.sha256(each).hexdigest()
    many.close()
    assert many.budget.left == SHARED


def test_producers_wait_for_their_clients_without_memory_and_disk_space(tmp_path: Path) -> None:
    many = Many(3, 0, str(tmp_path))
    data = [random.Random(size).randbytes(600_000) for size in range(3)]
    readers = [Reader(client, pause=0.0005) for _, client in many.pairs]
    with limited(resource.RLIMIT_FSIZE, 0):
        producers = [
            threading.Thread(target=outbox.send, args=(each,)) for outbox, each in zip(many.outboxes, data, strict=True)
        ]
        for producer in producers:
            producer.start()
        for producer in producers:
            producer.join(PATIENCE)
    for outbox, (server, _), reader, each in zip(many.outboxes, many.pairs, readers, data, strict=True):
        assert outbox.is_empty or outbox.flush()
        assert not outbox.is_full
        server.shutdown(socket.SHUT_WR)
        assert reader.digest() == hashlib.sha256(each).hexdigest()
    many.close()


def test_a_client_that_reads_nothing_times_out_without_memory_and_disk_space(tmp_path: Path) -> None:
    with limited(resource.RLIMIT_FSIZE, 0):
        many = Many(1, 0, str(tmp_path))
        outbox = Outbox(many.pairs[0][0], str(tmp_path), 0.1, many.budget)
        with pytest.raises(ClientGone):
            outbox.send(b"x" * 600_000)
        outbox.drop()
        many.close()


def test_a_spooled_head_moves_to_memory_when_a_file_follows(content: Path) -> None:
    """A connection has at most one descriptor besides its socket."""
    many = Many(1, 0, None)
    (outbox,), ((server, client),) = many.outboxes, many.pairs
    filling = outbox._offer(bytes(1 << 20))  # noqa: SLF001 - until the socket is full
    outbox.send(b"head")
    assert not outbox._pending.in_memory  # type: ignore[union-attr]  # noqa: SLF001 - it is there
    with content.open("rb") as file:
        outbox.send_file(file.fileno(), 0, FILE_FLUSH_SIZE)
    assert outbox._pending.in_memory  # type: ignore[union-attr]  # noqa: SLF001
    reader = Reader(client)
    flush_all(outbox, server)
    server.shutdown(socket.SHUT_WR)
    expected = bytes(filling) + b"head" + content.read_bytes()[:FILE_FLUSH_SIZE]
    assert reader.digest() == hashlib.sha256(expected).hexdigest()
    many.close()


# --- Files ------------------------------------------------------------------------------------------------------


@pytest.fixture
def content(tmp_path: Path) -> Path:
    """Return a file slightly larger than three flushes."""
    path = tmp_path / "content"
    path.write_bytes(random.Random(5).randbytes(3 * FILE_FLUSH_SIZE + 12_345))
    return path


def descriptors() -> list[str]:
    return [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]


@pytest.mark.parametrize(
    ("before", "offset", "size"),
    [
        (b"", 0, 1),
        (b"head", 0, 3 * FILE_FLUSH_SIZE),
        (b"head", 77, 2 * FILE_FLUSH_SIZE + 1),
        (b"x" * 500_000, 1, FILE_FLUSH_SIZE),  # the socket is full before the file is sent
        (b"x" * MAX_PENDING_IN_MEMORY * 3, 0, 10),
    ],
)
def test_a_file_is_sent_after_the_data_before_it(
    pair: Pair, make: Make, content: Path, before: bytes, offset: int, size: int
) -> None:
    server, client = pair
    outbox = make()
    with content.open("rb") as file:
        outbox.send(before)
        outbox.send_file(file.fileno(), offset, size)
    reader = Reader(client)
    flush_all(outbox, server)
    assert outbox.is_empty
    server.shutdown(socket.SHUT_WR)
    assert reader.digest() == hashlib.sha256(before + content.read_bytes()[offset : offset + size]).hexdigest()
    assert str(content) not in descriptors()


def test_data_after_a_file_is_sent_after_the_file(pair: Pair, make: Make, content: Path) -> None:
    server, client = pair
    outbox = make()
    reader = Reader(client)
    with content.open("rb") as file:
        for _ in range(2):
            outbox.send_file(file.fileno(), 0, 2 * FILE_FLUSH_SIZE)
            outbox.send(b"between")
    flush_all(outbox, server)
    server.shutdown(socket.SHUT_WR)
    expected = (content.read_bytes()[: 2 * FILE_FLUSH_SIZE] + b"between") * 2
    assert reader.digest() == hashlib.sha256(expected).hexdigest()


def test_two_files_in_a_row_are_sent_in_order(pair: Pair, make: Make, content: Path) -> None:
    server, client = pair
    outbox = make()
    reader = Reader(client)
    with content.open("rb") as file:
        outbox.send_file(file.fileno(), 0, FILE_FLUSH_SIZE)
        outbox.send_file(file.fileno(), FILE_FLUSH_SIZE, 1000)
    flush_all(outbox, server)
    server.shutdown(socket.SHUT_WR)
    assert reader.digest() == hashlib.sha256(content.read_bytes()[: FILE_FLUSH_SIZE + 1000]).hexdigest()


def test_a_flush_to_a_fast_client_sends_a_bounded_part_of_a_file(pair: Pair, make: Make, content: Path) -> None:
    """Other clients get their turn: a flush sends at most FILE_FLUSH_SIZE, even if the socket accepts more."""
    server, client = pair
    for sock in pair:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 24)
    outbox = make()
    with content.open("rb") as file:
        outbox.send_file(file.fileno(), 0, 2 * FILE_FLUSH_SIZE)
    assert not outbox.is_empty
    reader = Reader(client)
    flush_all(outbox, server)
    server.shutdown(socket.SHUT_WR)
    reader.digest()
    assert reader.size == 2 * FILE_FLUSH_SIZE


def test_a_file_that_shrinks_is_reported_and_closed(pair: Pair, make: Make, content: Path) -> None:
    server, client = pair
    outbox = make()
    with content.open("rb") as file:
        outbox.send_file(file.fileno(), 0, 2 * FILE_FLUSH_SIZE)
    os.truncate(content, 0)
    reader = Reader(client)
    with pytest.raises(ApplicationError, match="shorter"):
        flush_all(outbox, server)
    with pytest.raises(ClientGone):
        outbox.flush()
    assert 0 < outbox.drop() < 2 * FILE_FLUSH_SIZE
    assert str(content) not in descriptors()
    with pytest.raises(ClientGone):
        outbox.send(b"x")
    server.shutdown(socket.SHUT_WR)
    reader.digest()
    assert reader.size < 2 * FILE_FLUSH_SIZE


def test_a_file_that_cannot_be_read_is_reported_and_closed(pair: Pair, make: Make, content: Path) -> None:
    outbox = make()
    with content.open("ab") as file, pytest.raises(ApplicationError, match="cannot be sent"):
        outbox.send_file(file.fileno(), 0, 10)
    assert outbox.drop() == 10
    assert str(content) not in descriptors()


@pytest.mark.parametrize("cause", ["client", "drop", "patience"])
def test_the_descriptor_of_a_file_is_closed_however_sending_ends(
    pair: Pair, make: Make, content: Path, cause: str
) -> None:
    server, client = pair
    outbox = make(0.1)
    with content.open("rb") as file:
        outbox.send_file(file.fileno(), 0, 3 * FILE_FLUSH_SIZE)
    assert str(content) in descriptors()
    if cause == "client":
        client.close()
        with pytest.raises(ClientGone):
            flush_all(outbox, server)
    elif cause == "patience":
        with pytest.raises(ClientGone):
            outbox.send(b"more")
    outbox.drop()
    assert outbox.is_empty
    assert str(content) not in descriptors()


def test_no_file_is_sent_after_a_client_has_timed_out(pair: Pair, make: Make, content: Path) -> None:
    outbox = make(0.1)
    with pytest.raises(ClientGone):
        outbox.send(b"x" * (MAX_PENDING * 2))
    outbox.drop()
    with content.open("rb") as file, pytest.raises(ClientGone):
        outbox.send_file(file.fileno(), 0, 10)
    assert str(content) not in descriptors()
