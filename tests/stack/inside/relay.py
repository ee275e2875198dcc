"""Connections from inside a container, one after another: the other end of wire.Relay.

A line with host and port on stdin opens one, then frames follow in either direction. A frame is a length of four bytes
and that many bytes; an empty one ends the connection. Data for a broken connection is discarded, as in a network.
"""

import contextlib
import socket
import sys
import threading

stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
PIECE = 65536


def send_frame(data: bytes) -> None:
    stdout.write(len(data).to_bytes(4, "big") + data)
    stdout.flush()


def receive(peer: socket.socket) -> None:
    """From the peer to stdout."""
    with contextlib.suppress(OSError):
        while data := peer.recv(PIECE):
            send_frame(data)
    send_frame(b"")


def send(peer: socket.socket) -> None:
    """From stdin to the peer."""
    is_broken = False
    while left := int.from_bytes(stdin.read(4), "big"):
        while left and (data := stdin.read(min(left, PIECE))):
            left -= len(data)
            if not is_broken:
                is_broken = not is_sent(peer, data)


def is_sent(peer: socket.socket, data: bytes) -> bool:
    try:
        peer.sendall(data)
    except OSError:
        return False
    return True


def main() -> None:
    for line in stdin:
        host, port = line.decode().split()
        with socket.create_connection((host, int(port))) as peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answers = threading.Thread(target=receive, args=[peer], daemon=True)
            answers.start()
            send(peer)
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
            answers.join()


main()
