"""What chunks of several sizes cost the receiver: CPU for each MiB received, framing included.

    python bench/chunks.py [BYTES]      in pieces of so many bytes, 65536 if not given

Without sockets and processes, so that only the decoder counts, and where it keeps what it has decoded.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from wsgiserver.errors import Refusal
from wsgiserver.serving.receiver import Limits, Receiver

MIB = 1 << 20
RECEIVED = 4 * MIB
HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
KINDS = {
    "1 byte": b"1\r\nx\r\n",
    "1 and 2 bytes": b"1\r\nx\r\n2\r\nxy\r\n",
    "CRLF": b"2\r\n\r\n\r\n",
    "1 byte, extended": b"1;a\r\nx\r\n",
    "8 bytes": b"8\r\nabcdefgh\r\n",
    "1 KB": b"400\r\n" + b"x" * 1024 + b"\r\n",
    "64 KB": b"10000\r\n" + b"x" * 65536 + b"\r\n",
}


def spent(body: bytes, piece: int) -> tuple[float, str]:
    """Return the seconds of CPU that a body takes, and by which name it is refused if it is."""
    receiver = Receiver(Limits(1 << 40, 3 * MIB, tempfile.gettempdir()))
    receiver.feed(HEAD)
    began = time.process_time()
    refused = ""
    try:
        for start in range(0, len(body), piece):
            receiver.feed(body[start : start + piece])
    except Refusal as refusal:
        refused = refusal.name
    seconds = time.process_time() - began
    receiver.release()
    return seconds, refused


def main() -> None:
    piece = int(sys.argv[1]) if len(sys.argv) > 1 else 65536
    for name, chunk in KINDS.items():
        body = chunk * (RECEIVED // len(chunk))
        seconds, refused = min(spent(body, piece) for _ in range(3))
        print(f"{name:18} {seconds / len(body) * MIB * 1000:8.1f} ms/MiB {refused}")


if __name__ == "__main__":
    main()
