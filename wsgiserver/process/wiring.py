"""How the parts of a server are put together: settings and listening sockets -> what connections share -> the loop.

The options of one listener (`binds.Options`) are evaluated here, once, so that a request costs nothing for them. This
module knows neither processes nor signals: a worker (`worker.py`) runs what is made here, and so may any other thread.
"""

import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from wsgiserver.binds import Options, describe
from wsgiserver.buffers.budget import Budget, SharedBudget
from wsgiserver.eventloop.loop import Accept, Capacity, Hooks, Loop
from wsgiserver.process.listeners import Found, listen_all
from wsgiserver.process.listeners import describe as name_of
from wsgiserver.serving.connection import Connection
from wsgiserver.serving.context import ListenerContext, ServerContext
from wsgiserver.serving.proxied import ProxiedConnection
from wsgiserver.serving.receiver import Limits
from wsgiserver.settings import Settings, options
from wsgiserver.telemetry import resources
from wsgiserver.telemetry.accesslog import AccessLog, NoAccessLog
from wsgiserver.telemetry.log import event
from wsgiserver.telemetry.metrics import Metrics
from wsgiserver.wsgi.environ import template
from wsgiserver.wsgi.forwarded import Trust
from wsgiserver.wsgi.gateway import Application

# Protocol, and whether a PROXY protocol header comes first -> what a connection is.
KINDS: Final = {("http", False): Connection, ("http", True): ProxiedConnection}


class Listener(NamedTuple):
    """A listening socket, and the options of its connections."""

    socket: socket.socket
    options: Options


def listeners_for(found: Found, settings: Settings) -> list[Listener]:
    """Listen on all places of `--bind`. Raises OSError, which names the bind, if one is taken."""
    opened = zip(settings.bind, listen_all(found, settings.spelled("bind"), settings.socket_mode), strict=True)
    return [Listener(each, options(settings, bind)) for bind, of_bind in opened for each in of_bind]


def bound_to(name: str, listeners: Sequence[Listener]) -> dict[str, str]:
    """Return the fields of an event: the addresses as `name`, and listeners whose options differ from the default."""
    special = [describe(name_of(sock), its) for sock, its in listeners if its != Options()]
    found = {name: [name_of(listener.socket) for listener in listeners], "options": special}
    return {key: ", ".join(texts) for key, texts in found.items() if texts}


def within_open_descriptors(settings: Settings) -> Settings:
    """Count what the loaded application holds open: it may be more than was calculated before."""
    limit, rest = resources.descriptor_limit(), resources.descriptors_open() + resources.DESCRIPTORS_PER_THREAD
    fits = max(1, resources.connections_within(limit, settings.threads, max(rest, resources.OTHER_DESCRIPTORS)))
    if fits >= settings.max_connections:
        return settings
    event("max-connections-lowered", wanted=settings.max_connections, fits=fits, descriptors=limit, open=rest)
    return replace(settings, max_connections=fits)


def context_for(application: Application, settings: Settings, metrics: Metrics | None = None) -> ServerContext:
    return ServerContext(
        application=application,
        log=AccessLog(settings.access_logfile) if settings.access_log else NoAccessLog(),
        limits=Limits(settings.max_body, settings.spool_memory, settings.spool_dir, Budget(settings.spool_budget)),
        head_timeout=settings.head_timeout,
        body_idle_timeout=settings.body_idle_timeout,
        body_timeout=settings.body_timeout,
        body_rate=settings.body_rate,
        keep_alive=settings.keep_alive,
        send_timeout=settings.send_timeout,
        answers=SharedBudget(settings.send_budget),
        heads=Budget(settings.head_budget),
        metrics=metrics,
    )


def loop_for(context: ServerContext, settings: Settings, listeners: Sequence[Listener], hooks: Hooks) -> Loop:
    """Return a loop that serves the connections of `listeners`. The hooks that concern the context are added here."""
    accept = _accept(context, settings, listeners)
    capacity = Capacity(
        settings.threads,
        settings.handoff,
        settings.timeout,
        settings.max_connections,
        settings.max_connections_per_address,
    )
    hooks = hooks._replace(is_memory_short=lambda: context.heads.left < 0, on_full=context.set_full)
    return Loop([listener.socket for listener in listeners], accept, capacity, hooks)


def _accept(context: ServerContext, settings: Settings, listeners: Sequence[Listener]) -> Accept:
    """Return the function that makes a connection of an accepted socket."""
    trusts: dict[tuple[str, ...], Trust] = {}  # listeners with the same trusted proxies share one cache
    by_descriptor: dict[int, tuple[type[Connection], ListenerContext]] = {}
    for sock, its in listeners:
        environ = template(
            *_server_name(sock),
            sys.stderr,
            scheme=its.scheme,
            threads=settings.threads > 1,
            processes=settings.workers > 1,
        )
        trust = trusts.setdefault(its.forwarded_allow_ips, Trust(its.forwarded_allow_ips))
        by_descriptor[sock.fileno()] = (KINDS[its.protocol, its.proxy_protocol], ListenerContext(environ, trust))

    def accept(sock: socket.socket, address: Any, listener: socket.socket, now: float) -> Connection:
        kind, its_context = by_descriptor[listener.fileno()]
        return kind(sock, address, its_context, context, now)

    return accept


def _server_name(listener: socket.socket) -> tuple[str, int]:
    """Return the address as in a URL: IPv6 in brackets (RFC 3875, section 4.1.14), without the zone."""
    name = listener.getsockname()
    if not isinstance(name, tuple):
        return ("localhost", 80)
    host = name[0].partition("%")[0]
    return (f"[{host}]" if ":" in host else host, name[1])
