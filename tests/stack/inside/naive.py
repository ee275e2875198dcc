"""A server that does not know chunks and searches for the next request in any data, open to request smuggling.

It replaces echo_app.py: `/_seen/KEY` returns the requests with a KEY and forgets them; `/_so_far/KEY` does not forget.
"""

import io
import json
import re
import socketserver
from collections.abc import Iterator
from typing import Any

seen: dict[str, list[dict[str, Any]]] = {}


class Naive(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data = b""
        while received := self.request.recv(65536):
            data += received
            # Wait for all of the message, so that the number of pieces does not matter.
            if b"chunked" in data and not data.endswith(b"\r\n0\r\n\r\n"):
                continue
            found = list(requests(io.BytesIO(data)))
            if all(len(body) == length for _, _, length, body in found):
                self.request.sendall(b"".join(answer(*one) for one in found))
                data = b""


def requests(file: io.BytesIO) -> Iterator[tuple[str, str, int, str]]:
    """Target, key, length and body of each."""
    while line := file.readline():
        if request := re.fullmatch(rb"[A-Z]+ (/(?:api/)?([^/]*)/\S*) HTTP/1.1\r\n", line):
            length = 0
            while (field := file.readline()).strip():
                if field.lower().startswith(b"content-length:"):
                    length = int(field[15:])
            yield request[1].decode(), request[2].decode(), length, file.read(length).decode("latin-1")


def answer(target: str, key: str, length: int, body: str) -> bytes:
    response: Any = {"target": target, "length": length, "body": body}
    requested_key = target.rpartition("/")[2]
    if key == "_seen":
        response = seen.pop(requested_key, [])
    elif key == "_so_far":
        response = seen.get(requested_key, [])
    else:
        seen.setdefault(key, []).append(response)
    text = json.dumps(response).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


Server(("", 8000), Naive).serve_forever()
