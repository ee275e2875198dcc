"""What people type who come from other servers, and what does the same here: for error messages alone."""

from typing import Final

_BIND: Final = "where to listen is --bind HOST:PORT, as in --bind 0.0.0.0:8000"
_ENVIRONMENT: Final = "set that up before starting it"
_TLS: Final = "TLS is the business of a proxy in front"
_LOGS: Final = "events are JSON on standard error"

# Flags of gunicorn, uvicorn, waitress, uWSGI, Flask and granian, where the nearest name would not help.
INSTEAD: Final = {
    "--host --port --listen --address --http --http-socket --socket -s --interface": _BIND,
    "--uds --unix-socket --fd": "a unix socket is --bind unix:PATH; one that is open already is given in LISTEN_FDS",
    "--unix-socket-perms --uds-permissions --chmod-socket": "permissions of a unix socket are --socket-mode",
    "--app -A --module --wsgi-file --paste": "what to serve is written without a flag, as MODULE:APP",
    "--factory --call": "a factory is written with its brackets, as MODULE:create_app()",
    "-k --worker-class": "there is one kind of worker; --threads says how many requests each runs at once",
    "--processes": "how many processes there are is --workers",
    "--worker-connections --limit-concurrency --connection-limit --backpressure": "see --max-connections",
    "--limit-max-requests": "a worker is replaced after --max-requests",
    "--limit-max-requests-jitter": "see --max-requests-jitter",
    "--max-request-body-size": "the largest body is --max-body",
    "--timeout-keep-alive": "see --keep-alive",
    "--timeout-graceful-shutdown --workers-kill-timeout": "see --graceful-timeout",
    "--channel-timeout": "see --keep-alive, --body-idle-timeout and --send-timeout",
    "--reload-dir --reload-include --reload-exclude --reload-engine --reload-extra-file --reload-paths --debug": (
        "--reload looks at the files of all modules that were loaded"
    ),
    "--proxy-headers --trusted-proxy --trusted-proxy-headers --secure-scheme-headers --proxy-allow-from": (
        "which proxies are believed is --forwarded-allow-ips"
    ),
    "--worker-tmp-dir": "nothing of the kind is needed; large bodies go to --spool-dir",
    "--error-logfile --log-file --log-level --log-config --capture-output --log --use-colors": _LOGS,
    "--access-logformat --access-log-fmt": "a line of the access log is JSON",
    "--statsd-host": "/metrics of --admin-bind is for Prometheus",
    "--certfile --keyfile --ca-certs --cert --key --ssl-keyfile --ssl-certfile --ssl-certificate": _TLS,
    "-D --daemon -p --pid": f"it stays in the foreground, under systemd or in a container; and {_BIND}",
    "-u --user -g --group -m --umask --chdir --app-dir --pythonpath -e --env --env-file -n --name": _ENVIRONMENT,
    "--root-path --url-prefix": "a proxy in front says that, in X-Forwarded-*",
    "--url-scheme": "a listener has one, as in --bind :8000,scheme=https; or a proxy says it, in X-Forwarded-Proto",
    "--backlog": "the backlog is as long as the kernel allows (net.core.somaxconn)",
    "--limit-request-line --limit-request-fields --limit-request-field_size": "the limits of a head are fixed",
}


def instead_of(name: str) -> str:
    """Return what to say of a flag, a variable's name without its prefix, or a key of a file; "" for nothing."""
    flag = name if name.startswith("-") else "--" + name.lower().replace("_", "-")
    short = flag[:2] if not flag.startswith("--") else flag  # -p8000
    return next((instead for flags, instead in INSTEAD.items() if short in flags.split()), "")
