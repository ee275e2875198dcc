"""A connection that begins with a PROXY protocol header, which names the client.

    PROXY -> HEAD ...    and then as any other connection

Only a trusted proxy may send the header; any other peer is refused. What the client then claims in X-Forwarded-* counts
only if its own address is trusted, because such a proxy passes on the bytes as they are.
"""

import socket
from typing import Any

from wsgiserver.errors import Refusal
from wsgiserver.http1.head import begins_with_head
from wsgiserver.http1.proxy_protocol import parse
from wsgiserver.serving.connection import PEEK_SIZE, Connection
from wsgiserver.serving.context import ListenerContext, ServerContext
from wsgiserver.serving.states import HEAD, PROXY, READ, State, Verdict


class ProxiedConnection(Connection):
    """See above."""

    __slots__ = ("_header", "_peer")

    def __init__(
        self, sock: socket.socket, address: Any, listener: ListenerContext, context: ServerContext, now: float
    ) -> None:
        super().__init__(sock, address, listener, context, now)
        self.state: State = PROXY
        self._header = b""
        self._peer = super().limited_address

    @property
    def limited_address(self) -> str:
        """The address by which the connection was counted, whatever the header said later."""
        return self._peer

    def _received(self, data: bytes, now: float) -> Verdict:
        if self.state is not PROXY:
            return super()._received(data, now)
        self._header += data
        if not self.exchange.trusted:
            return self._refuse(Refusal("proxy-not-trusted"), now)
        try:
            source = parse(self._header)
        except Refusal as refusal:
            return self._refuse(refusal, now)
        if source is None:
            self._hold(len(self._header))
            return READ
        rest, self._header = self._header[source.length :], b""
        self.exchange.introduce(source.client, tls=source.tls)
        self._hold(0)
        self._move(HEAD)
        return super()._received(rest, now) if rest else READ

    def _method(self) -> str:
        """The method of the request behind the header, or in place of a header."""
        if self.state is not PROXY:
            return super()._method()
        beginning = self._header or self._unread(PEEK_SIZE)
        try:
            source = parse(beginning)
        except Refusal:
            source = None
        return "HEAD" if begins_with_head(beginning[source.length if source is not None else 0 :]) else ""

    @property
    def _is_begun(self) -> bool:
        return bool(self._header) or super()._is_begun

    def _linger(self, now: float) -> Verdict:
        self._header = b""
        return super()._linger(now)
