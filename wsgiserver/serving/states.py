"""The states of a connection, the moves between them, and the verdicts for its owner.

    PROXY -> HEAD                                         only with --proxy-protocol
    HEAD -> BODY -> APPLICATION -> SENDING -> HEAD ...    a request, and the next on the same connection
     |       |           |            |
     +-------+-----------+------------+---> LINGERING -> CLOSED    read on, so that the last response is not destroyed
                         +---> ABANDONED -> CLOSED                 answered instead of an application that hangs

Rules only: what happens in a state is in `connection.py`.
"""

from enum import Enum, auto
from typing import Final


class State(Enum):
    """What the connection is waiting for."""

    HEAD = auto()  # a request, or the rest of its head
    BODY = auto()
    APPLICATION = auto()  # a thread to run it, or that thread
    SENDING = auto()  # the client to read the response
    ABANDONED = auto()  # its thread to come back from the application; the client has been answered
    LINGERING = auto()  # the client to stop sending; nothing more is answered
    CLOSED = auto()
    PROXY = auto()  # the PROXY protocol header, where one has to come first

    __hash__ = object.__hash__  # Enum's own is Python code, and every move reads two tables


# The legal moves; a move that is not here is a bug, and raises.
MOVES: Final[dict[State, frozenset[State]]] = {
    State.HEAD: frozenset({State.BODY, State.APPLICATION, State.LINGERING, State.CLOSED}),
    State.BODY: frozenset({State.APPLICATION, State.LINGERING, State.CLOSED}),
    State.APPLICATION: frozenset({State.HEAD, State.SENDING, State.ABANDONED, State.LINGERING, State.CLOSED}),
    State.ABANDONED: frozenset({State.CLOSED}),
    State.SENDING: frozenset({State.HEAD, State.LINGERING, State.CLOSED}),
    State.LINGERING: frozenset({State.CLOSED}),
    State.CLOSED: frozenset(),
    State.PROXY: frozenset({State.HEAD, State.LINGERING, State.CLOSED}),
}


class Verdict(Enum):
    """What the owner of a connection has to do next."""

    READ = auto()  # wait until there is something to receive
    WRITE = auto()  # wait until there is room to send
    RUN = auto()  # a request is complete: call `respond`
    CLOSE = auto()  # it is over: close the socket and forget it


# A global name is found in a third of the time that an attribute of an Enum takes.
HEAD, BODY, APPLICATION, SENDING, ABANDONED, LINGERING, CLOSED, PROXY = State
READ, WRITE, RUN, CLOSE = Verdict
