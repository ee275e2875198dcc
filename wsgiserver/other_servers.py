"""The names that other servers use for a setting, and what does the same here. Only error messages use this."""

from typing import Final

_BIND: Final = "write the address as --bind HOST:PORT, such as --bind 0.0.0.0:8000"
_ENVIRONMENT: Final = "set that up before you start the server"
_TLS: Final = "let a proxy in front do TLS"
_LOGS: Final = "events go to standard error, as lines of JSON"

# Flags of gunicorn, uvicorn, waitress, uWSGI, Flask and granian, where the nearest name would not help.
INSTEAD: Final = {
    "--host --port --listen --address --http --http-socket --socket -s --interface": _BIND,
    "--uds --unix-socket --fd": "write a unix socket as --bind unix:PATH; pass an open socket in LISTEN_FDS",
    "--unix-socket-perms --uds-permissions --chmod-socket": "use --socket-mode",
    "--app -A --module --wsgi-file --paste": "write the application without a flag, as MODULE:APP",
    "--factory --call": "write a factory with its brackets, as MODULE:create_app()",
    "-k --worker-class": "there is one kind of worker; --threads is how many requests each runs at once",
    "--processes": "use --workers",
    "--worker-connections --limit-concurrency --connection-limit --backpressure": "use --max-connections",
    "--limit-max-requests": "use --max-requests",
    "--limit-max-requests-jitter": "use --max-requests-jitter",
    "--max-request-body-size": "use --max-body",
    "--timeout-keep-alive": "use --keep-alive",
    "--timeout-graceful-shutdown --workers-kill-timeout": "use --graceful-timeout",
    "--channel-timeout": "use --keep-alive, --body-idle-timeout and --send-timeout",
    "--reload-dir --reload-include --reload-exclude --reload-engine --reload-extra-file --reload-paths --debug": (
        "use --reload, which watches the files of all modules that were loaded"
    ),
    "--proxy-headers --trusted-proxy --trusted-proxy-headers --secure-scheme-headers --proxy-allow-from": (
        "name the trusted proxies in --forwarded-allow-ips"
    ),
    "--worker-tmp-dir": "leave it out; large bodies go to --spool-dir",
    "--error-logfile --log-file --log-level --log-config --capture-output --log --use-colors": _LOGS,
    "--access-logformat --access-log-fmt": "a line of the access log is always JSON",
    "--statsd-host": "have Prometheus read /metrics of --admin-bind",
    "--certfile --keyfile --ca-certs --cert --key --ssl-keyfile --ssl-certfile --ssl-certificate": _TLS,
    "-D --daemon -p --pid": f"the server stays in the foreground, for systemd or a container; for a port, {_BIND}",
    "-u --user -g --group -m --umask --chdir --app-dir --pythonpath -e --env --env-file -n --name": _ENVIRONMENT,
    "--root-path --url-prefix": "have the proxy in front send X-Forwarded-*",
    "--url-scheme": "write --bind :8000,scheme=https, or have the proxy in front send X-Forwarded-Proto",
    "--backlog": "the backlog is as long as the kernel allows (net.core.somaxconn)",
    "--limit-request-line --limit-request-fields --limit-request-field_size": "the limits of a request head are fixed",
}


def instead_of(name: str) -> str:
    """Return what to write instead of a flag, a variable without its prefix, or a key of a file; "" for unknown."""
    flag = name if name.startswith("-") else "--" + name.lower().replace("_", "-")
    short = flag[:2] if not flag.startswith("--") else flag  # -p8000
    return next((instead for flags, instead in INSTEAD.items() if short in flags.split()), "")
