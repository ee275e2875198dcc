"""Which descriptors are ready: epoll where there is one, poll elsewhere (macOS, for development).

Both look the same from outside: `register`, `modify`, `unregister`, `poll(seconds, most)`, `close`.
"""

import select
from typing import Final

READ: Final = select.POLLIN  # the same numbers as epoll's
WRITE: Final = select.POLLOUT


class Poll:
    """`select.poll` with the face of `select.epoll`."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.register = self._poll.register
        self.modify = self._poll.modify
        self.unregister = self._poll.unregister

    def poll(self, timeout: float | None, maxevents: int) -> list[tuple[int, int]]:
        return self._poll.poll(None if timeout is None else timeout * 1000)[:maxevents]

    def close(self) -> None:
        """Nothing is kept open."""


Poller = getattr(select, "epoll", Poll)
EXCLUSIVE: Final = 0 if Poller is Poll else select.EPOLLEXCLUSIVE  # wake only some of the processes that wait
