"""A program that limits itself like a decoding child, and prints each thing that it can still do on a line.

    python unlimited.py APP FOLDER [without-proc]

APP is the folder of the application, FOLDER a writable folder. It runs in a new interpreter, because a used one may
have free memory, to which no limit applies.
"""

import resource
import signal
import sys
from pathlib import Path

APP, FOLDER, *WITHOUT_PROC = sys.argv[1:]
sys.path.insert(0, APP)

from photos import decoder  # noqa: E402 - found in APP

MIB = 1024**2
SIZES = 128, 512  # MiB: more than a small picture may take, more than any


def main() -> None:
    file = Path(FOLDER, "file")
    file.touch()
    if WITHOUT_PROC:
        decoder._STATM = Path("/nowhere")  # type: ignore[misc]  # noqa: SLF001 - nothing else needs to set it
    decoder.limit({"wall": 60})
    found = [] if WITHOUT_PROC else sizes()  # without it, the decoder assumes a larger size
    if resource.getrlimit(resource.RLIMIT_AS)[1] == resource.RLIM_INFINITY:
        found.append("any address space")
    if resource.getrlimit(resource.RLIMIT_CPU)[0] > 20:
        found.append("more than 20 seconds")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        file.write_bytes(b"x")
        found.append("writing")
    except OSError:
        pass
    sys.stdout.write("\n".join(found))


def sizes() -> list[str]:
    found = []
    for size in SIZES:
        try:
            bytearray(size * MIB)
            found.append(f"{size} MiB")
        except MemoryError:
            _, most = resource.getrlimit(resource.RLIMIT_AS)
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
    return found


main()
