"""Lists, reloads and kills the processes of a server, from inside its container.

    processes.py workers | reload | kill-one | kill-workers
    processes.py kill-when-storing new|open USER-FOLDER

The container's main process is the child of process 1, the init; its children are the workers.
"""

import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path


def parent(process: int) -> int | None:
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it has ended
        return None


def children(of: int) -> list[int]:
    numbers = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
    return [number for number in numbers if parent(number) == of]


def workers() -> list[int]:
    return [worker for main in children(1) for worker in children(main)]


def sockets(process: int) -> int:
    return sum(file.is_socket() for file in Path(f"/proc/{process}/fd").iterdir())


def kill(processes: list[int]) -> None:
    for process in processes:
        os.kill(process, signal.SIGKILL)


def list_workers() -> None:
    print(*workers())


def reload() -> None:
    for main in children(1):
        os.kill(main, signal.SIGHUP)


def kill_one() -> None:
    """Kill the worker with the most connections, except the oldest, which serves health and metrics of web."""
    kill([max(sorted(workers())[1:], key=sockets)])


def kill_workers() -> None:
    kill(workers())


# --- at a moment of storing a photo -----------------------------------------------------------------------------------


def new_files(folder: str) -> set[str]:
    """Files in the folder, of any process."""
    return {str(path) for pattern in ("*", "*/*") for path in Path(folder).glob(pattern) if path.is_file()}


def open_files(folder: str) -> set[str]:
    """Files in the folder that a process of this container has open."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            found.add(str(link.readlink()))
        except OSError:  # it has ended, or closed it
            continue
    return {path for path in found if path.startswith(folder)}


MOMENTS: dict[str, Callable[[str], set[str]]] = {"new": new_files, "open": open_files}


def kill_when_storing(moment: str, name: str) -> None:
    """Kill all when a file appears in one of the media folders. Prints "ready", and watches until the end of stdin."""
    folder, files = f"/srv/media/{name}/", MOMENTS[moment]
    before = files(folder)
    print("ready", flush=True)
    is_over = False
    while not files(folder) - before:
        if is_over:
            return
        is_over = bool(select.select([sys.stdin], [], [], 0)[0])  # and then checks once more
    kill([*workers(), *children(1)])


COMMANDS: dict[str, Callable[..., None]] = {
    "workers": list_workers,
    "reload": reload,
    "kill-one": kill_one,
    "kill-workers": kill_workers,
    "kill-when-storing": kill_when_storing,
}

if __name__ == "__main__":
    COMMANDS[sys.argv[1]](*sys.argv[2:])
