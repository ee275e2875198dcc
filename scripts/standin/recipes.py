"""The recipe of each stand-in. Debian's testing release has the same versions as the official images.

A hook is a line of shell that mmdebstrap runs; $1 is the folder with the files of the image.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SUITE = "forky"


@dataclass(frozen=True)
class Recipe:
    packages: str
    ask: list[str]  # the command that prints its version
    hooks: list[str] = field(default_factory=list)  # options for mmdebstrap
    changes: list[str] = field(default_factory=list)  # options for `docker import`: the image's configuration


def python(_: str) -> Recipe:
    """With libstdc++6, as in the official image, because Pillow and other packages need it."""
    return Recipe("python3,python3-venv,libstdc++6", ["python3", "--version"], changes=['CMD ["python3"]'])


def nginx(_: str) -> Recipe:
    return Recipe("nginx,curl,gettext-base", ["nginx", "-v"])


def postgres(version: str) -> Recipe:
    """With the official image's user id, paths and entry point; without the cluster that Debian's package creates.

    The file of the entry point is in mmdebstrap's working directory, because `upload` accepts no path with a blank.
    """
    return Recipe(
        f"postgresql-{version}",
        ["postgres", "--version"],
        hooks=[
            '--essential-hook=mkdir -p "$1"/etc/postgresql-common',
            '--essential-hook=echo "create_main_cluster = false" > "$1"/etc/postgresql-common/createcluster.conf',
            '--essential-hook=echo "postgres:x:999:" >> "$1"/etc/group',
            '--essential-hook=echo "postgres:x:999:999::/var/lib/postgresql:/bin/sh" >> "$1"/etc/passwd',
            "--customize-hook=upload postgres-entrypoint.sh /usr/local/bin/docker-entrypoint.sh",
            '--customize-hook=chmod 755 "$1"/usr/local/bin/docker-entrypoint.sh',
            '--customize-hook=chown 999:999 "$1"/var/lib/postgresql',
        ],
        changes=[
            f"ENV PATH=/usr/lib/postgresql/{version}/bin:/usr/local/bin:/usr/bin:/bin",
            f"ENV PGDATA=/var/lib/postgresql/{version}/docker",
            'ENTRYPOINT ["docker-entrypoint.sh"]',
            'CMD ["postgres"]',
        ],
    )


def prometheus(_: str) -> Recipe:
    """With the official image's user, paths and arguments, instead of Debian's user and configuration."""
    return Recipe(
        "prometheus",
        ["sh", "-c", 'prometheus --version | sed "s/+.*//;q"'],  # "prometheus, version 3.5.3+ds1 (branch: ..."
        hooks=[
            '--customize-hook=mkdir -p "$1"/prometheus && chown 65534:65534 "$1"/prometheus',
            '--customize-hook=rm -rf "$1"/etc/prometheus/* "$1"/var/lib/prometheus',
        ],
        changes=[
            "USER nobody",
            "WORKDIR /prometheus",
            'ENTRYPOINT ["/bin/prometheus"]',
            'CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]',
        ],
    )


RECIPES = {"python": python, "nginx": nginx, "postgres": postgres, "prometheus": prometheus}
