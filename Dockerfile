# Three images from one file, in the order in which they are built:
#
#   runtime   the Django project and the wsgiserver package    (services web, gunicorn, runserver, migrate)
#   nginx     nginx with the collected static files baked in   (service nginx)
#   test      runtime plus the tests that need no stack        (scripts/test.sh)
#
# It uses only what all Debian-based images of python and nginx have in common, because scripts/images.sh may use stand-ins
# for them; and no feature that only BuildKit has, so that the classic builder works as well.

ARG PYTHON_IMAGE=python:3.14-slim-trixie
ARG NGINX_IMAGE=nginx:1.30


# --- base: common to build and runtime -------------------------------------------------------------------
FROM ${PYTHON_IMAGE} AS base
# HOME is writable even with a read-only root. Bytecode is compiled once, below.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STATIC_ROOT=/srv/static
WORKDIR /app


# --- build: the virtual environment and the static files; not an image of its own ------------------------
FROM base AS build
# The system's certificates instead of pip's: behind a proxy that inspects TLS, only they include the proxy's authority.
# NO_COMPILE: all installed code is compiled in one step, below.
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PIP_NO_COMPILE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

# pip checks every file against the lock. Wheels only, so no compiler is needed.
COPY requirements/app.txt /build/requirements/
RUN python3 -m venv /opt/venv \
 && pip install --require-hashes --only-binary=:all: -r /build/requirements/app.txt

# The packages wsgiserver and uploadstack, built with the locked setuptools. Then setuptools and pip are removed, because
# nothing installs packages at run time.
# chmod: files keep the modes of the checkout, and after a strict umask (077) the container's user could not read them.
# unchecked-hash: the root will be read-only, so no source is ever newer than its bytecode.
COPY pyproject.toml README.md LICENSE /build/
COPY wsgiserver /build/wsgiserver
COPY uploadstack /build/uploadstack
RUN pip install --no-deps --no-build-isolation /build \
 && pip check \
 && pip uninstall --yes setuptools pip \
 && chmod -R a+rX /opt/venv \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# The project's settings module. manage.py has a default for it; the variable applies to every command.
ARG DJANGO_SETTINGS_MODULE=config.settings
ENV DJANGO_SETTINGS_MODULE=$DJANGO_SETTINGS_MODULE

# The key exists for one command only. gzip keeps the modification time, which gzip_static needs to be equal.
COPY app /app
RUN chmod -R a+rX /app \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /app \
 && SECRET_KEY="$(python -c 'import secrets; print(secrets.token_hex(32))')" python manage.py collectstatic --noinput \
 && find /srv/static -type f -size +1k -regex '.*\.\(css\|js\|mjs\|svg\|json\|txt\|map\|html\)' -exec gzip -9 -k -f -n {} +

# The project's own nginx configuration (nginx/site.conf includes it); the folder may be empty.
RUN mkdir -p /app/nginx

# The project's MEDIA_URL: if it is /media/, nginx serves MEDIA_ROOT there (nginx/media.conf).
RUN SECRET_KEY="$(python -c 'import secrets; print(secrets.token_hex(32))')" python manage.py diffsettings > /tmp/settings \
 && sed -n "s/^MEDIA_URL = '\(.*\)'.*/\1/p" /tmp/settings > /srv/media-url


# --- runtime ---------------------------------------------------------------------------------------------
FROM base AS runtime
ARG DJANGO_SETTINGS_MODULE=config.settings
ENV DJANGO_SETTINGS_MODULE=$DJANGO_SETTINGS_MODULE
# A new volume gets the owner of the folder that it is mounted on.
RUN install -d -o 10001 -g 10001 /srv/media /srv/data /var/spool/wsgiserver
USER 10001:10001
EXPOSE 8000
CMD ["wsgiserver", "uploadstack.wsgi:application", "--bind", "0.0.0.0:8000"]
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/static /srv/static
COPY --from=build /app /app


# --- nginx -----------------------------------------------------------------------------------------
FROM ${NGINX_IMAGE} AS nginx
# Before 1.30.4 (in 1.31: before 1.31.3) regular expressions in `map`, which nginx/ uses a lot, can overflow a buffer:
# CVE-2026-42533. A tag such as 1.30 may stand for an older version that was pulled long ago.
RUN said="$(nginx -v 2>&1)" && version="${said##*/}" && version="${version%% *}" \
 && case $version in 1.31.*) oldest=1.31.3 ;; *) oldest=1.30.4 ;; esac \
 && if dpkg --compare-versions "$version" lt "$oldest"; then \
        echo "NGINX_IMAGE holds nginx $version, which has CVE-2026-42533; $oldest or newer is needed." \
            "Run: docker pull nginx:1.30 (or remove a stand-in: docker image rm nginx:standin-1.30), then make up" >&2; \
        exit 1; \
    fi
# /srv/media belongs to the application's user here as well: the first container that mounts the volume decides its owner.
# openssl makes the self-signed certificate; the build fails here if the base image lacks it.
RUN openssl version \
 && install -d -o 10002 -g 10002 /var/spool/nginx \
 && install -d -m 700 -o 10002 -g 10002 /srv/certificates \
 && install -d -o 10001 -g 10001 /srv/media
COPY nginx /opt/nginx
RUN chmod -R a+rX /opt/nginx
USER 10002:10002
EXPOSE 8080 8081 8443
# QUIT lets nginx finish its requests; TERM would abort them.
STOPSIGNAL SIGQUIT
ENTRYPOINT ["/opt/nginx/entrypoint.sh"]
COPY --from=build /srv/media-url /opt/nginx/media-url
COPY --from=build /app/nginx /opt/nginx/project
COPY --from=build /srv/static /srv/static


# --- test: runtime, with the tests and their requirements ------------------------------------------------
FROM runtime AS test
USER 0
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PIP_NO_COMPILE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
COPY requirements/test.txt /build/requirements/
# venv installs pip again, which runtime lacks.
RUN python3 -m venv /opt/venv \
 && pip install --require-hashes --only-binary=:all: -r /build/requirements/test.txt
# Without wsgiserver/ and uploadstack/: the tests use the installed packages.
WORKDIR /tests
COPY pyproject.toml /tests/
COPY tests /tests/tests
RUN ln -s /app /tests/app \
 && chmod -R a+rX /tests
USER 10001:10001
# With this variable pytest-django would load the settings too early, before the tests have set SECRET_KEY.
ENTRYPOINT ["env", "-u", "DJANGO_SETTINGS_MODULE"]
CMD ["pytest", "-p", "no:cacheprovider", "tests/server", "tests/uploadstack", "tests/app", "tests/frameworks"]
