"""Bytes of memory that many buffers share, so that all of them together cannot take more than their share."""

import threading


class Budget:
    """Bytes of memory that the bodies of a process share, so that many of them cannot take all of it."""

    __slots__ = ("left",)

    def __init__(self, size: int) -> None:
        self.left = size

    def reserve(self, size: int) -> bool:
        if size > self.left:
            return False
        self.left -= size
        return True

    def release(self, size: int) -> None:
        self.left += size

    def charge(self, change: int) -> None:
        """Reserve, or release if negative, whatever is left: it may be overdrawn for a moment."""
        self.left -= change


class SharedBudget(Budget):
    """A budget that threads share: the application's adds pending bytes while the loop sends them."""

    __slots__ = ("_lock",)

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._lock = threading.Lock()

    def reserve(self, size: int) -> bool:
        with self._lock:
            return super().reserve(size)

    def release(self, size: int) -> None:
        with self._lock:
            super().release(size)
