"""A client that sends exact bytes and reads responses strictly."""

import select
import socket
from typing import Self

from tests.wire.answers import Answer, read_answer
from tests.wire.building import request
from tests.wire.polling import PATIENCE

_PIECE = 1 << 18


class Client:
    """One connection. It is also a source of responses: `read` and `readline` return received bytes."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.socket.settimeout(PATIENCE)
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes | str) -> Self:
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def get(self, target: str, *fields: str) -> Answer:
        return self.send(request("GET", target, *fields)).answer()

    def answer(self, *, method: str = "GET") -> Answer:
        """Read exactly one response. Its version is that of the server, not of the request: RFC 9110, 2.5."""
        answer = read_answer(self, method=method)
        assert answer.version == "1.1"
        return answer

    def rest(self) -> bytes:
        """Read until the server ends the connection."""
        return self.read()

    def has_ended(self) -> bool:
        """Whether the server has ended the connection and no data is left to read."""
        if self._buffer or not select.select([self.socket], [], [], 0)[0]:
            return False
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except ConnectionResetError:
            return True

    def readline(self, _: int = -1, /) -> bytes:
        while b"\n" not in self._buffer:
            if not (received := self.socket.recv(_PIECE)):
                return self._taken(len(self._buffer))
            self._buffer += received
        return self._taken(self._buffer.index(b"\n") + 1)

    def read(self, size: int = -1, /) -> bytes:
        pieces, missing = [self._buffer], size - len(self._buffer)
        while (size < 0 or missing > 0) and (received := self.socket.recv(_PIECE)):
            pieces.append(received)
            missing -= len(received)
        self._buffer = b"".join(pieces)
        return self._taken(len(self._buffer) if size < 0 else size)

    def _taken(self, size: int) -> bytes:
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data
