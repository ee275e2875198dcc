"""`python -m wsgiserver` and the `wsgiserver` command: the same thing."""

import sys


def main() -> int:
    """Import only what the command needs: a container runs its health check every few seconds."""
    if sys.argv[1:2] == ["healthcheck"]:
        from wsgiserver import healthcheck  # noqa: PLC0415 - a quarter of what the whole server takes

        return healthcheck.main(sys.argv[2:])
    from wsgiserver import cli  # noqa: PLC0415

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
