# Three images from one file, in the order they are built:
#
#   runtime   the Django project and the wsgiserver package    (services web, gunicorn, runserver, migrate)
#   edge      nginx with the collected static files baked in   (service nginx)
#   test      runtime plus the tests that need no stack        (scripts/test.sh)
#
# It relies only on what Debian-based python and nginx images share, because scripts/images.sh may put a
# stand-in in the place of either; and on nothing that only BuildKit knows, so the classic builder does as well.

ARG PYTHON_IMAGE=python:3.14-slim-trixie
ARG NGINX_IMAGE=nginx:1.30


# --- base: what building and running have in common ------------------------------------------------------
FROM ${PYTHON_IMAGE} AS base
# HOME is a place that stays writable under a read-only root. Bytecode is compiled once, below.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    STATIC_ROOT=/srv/static
WORKDIR /app


# --- build: the virtual environment and the static files; thrown away ------------------------------------
FROM base AS build
# The system's bundle instead of pip's own: behind a proxy that inspects TLS, only that one has its authority.
# NO_COMPILE: what is installed is compiled at once, below.
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PIP_NO_COMPILE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

# Every file pip takes is checked against the lock; wheels only, so no compiler is needed anywhere.
COPY requirements/app.txt /build/requirements/
RUN python3 -m venv /opt/venv \
 && pip install --require-hashes --only-binary=:all: -r /build/requirements/app.txt

# The server and what projects need of the stack, built by the setuptools of the lock. Then what only installs things goes: it has no business at run time.
# chmod: files have the modes of the checkout, which a strict umask (077) keeps from the user of a container.
# unchecked-hash: the root will be read-only, so no source is ever newer than its bytecode.
COPY pyproject.toml README.md LICENSE /build/
COPY wsgiserver /build/wsgiserver
COPY uploadstack /build/uploadstack
RUN pip install --no-deps --no-build-isolation /build \
 && pip check \
 && pip uninstall --yes setuptools pip \
 && chmod -R a+rX /opt/venv \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# The project's settings. manage.py has them, too; but a variable is for all that is run.
ARG DJANGO_SETTINGS_MODULE=config.settings
ENV DJANGO_SETTINGS_MODULE=$DJANGO_SETTINGS_MODULE

# The key lives for one command. gzip keeps the times equal, as gzip_static wants them.
COPY app /app
RUN chmod -R a+rX /app \
 && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /app \
 && SECRET_KEY="$(python -c 'import secrets; print(secrets.token_hex(32))')" python manage.py collectstatic --noinput \
 && find /srv/static -type f -size +1k -regex '.*\.\(css\|js\|mjs\|svg\|json\|txt\|map\|html\)' -exec gzip -9 -k -f -n {} +

# What the project tells nginx (nginx/site.conf), if it tells anything.
RUN mkdir -p /app/nginx

# Whether nginx serves MEDIA_ROOT as /media/ is for the project's MEDIA_URL to say (nginx/media.conf).
RUN SECRET_KEY="$(python -c 'import secrets; print(secrets.token_hex(32))')" python manage.py diffsettings > /tmp/settings \
 && sed -n "s/^MEDIA_URL = '\(.*\)'.*/\1/p" /tmp/settings > /srv/media-url


# --- runtime ---------------------------------------------------------------------------------------------
FROM base AS runtime
ARG DJANGO_SETTINGS_MODULE=config.settings
ENV DJANGO_SETTINGS_MODULE=$DJANGO_SETTINGS_MODULE
# A named volume takes over the owner of the folder it is mounted on.
RUN install -d -o 10001 -g 10001 /srv/media /srv/data /var/spool/wsgiserver
USER 10001:10001
EXPOSE 8000
CMD ["wsgiserver", "uploadstack.wsgi:application", "--bind", "0.0.0.0:8000"]
COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/static /srv/static
COPY --from=build /app /app


# --- edge: nginx -----------------------------------------------------------------------------------------
FROM ${NGINX_IMAGE} AS edge
# Before 1.30.4 (in 1.31: before 1.31.3) regular expressions in `map`, of which nginx/ has many, can overflow a buffer:
# CVE-2026-42533. A tag such as 1.30 may name an older one that was pulled long ago.
RUN said="$(nginx -v 2>&1)" && version="${said##*/}" && version="${version%% *}" \
 && case $version in 1.31.*) oldest=1.31.3 ;; *) oldest=1.30.4 ;; esac \
 && if dpkg --compare-versions "$version" lt "$oldest"; then \
        echo "NGINX_IMAGE holds nginx $version, which has CVE-2026-42533; $oldest or newer is needed." \
            "Get it: docker pull nginx:1.30 (or remove a stand-in: docker image rm nginx:standin-1.30), then make up" >&2; \
        exit 1; \
    fi
# /srv/media belongs to the application here too: whichever container comes first decides who owns the volume.
# openssl makes the self-signed certificate; both images have it, and an image without it fails here.
RUN openssl version \
 && install -d -o 10002 -g 10002 /var/spool/nginx \
 && install -d -m 700 -o 10002 -g 10002 /srv/certificates \
 && install -d -o 10001 -g 10001 /srv/media
COPY nginx /opt/edge
RUN chmod -R a+rX /opt/edge
USER 10002:10002
EXPOSE 8080 8081 8443
# QUIT lets nginx finish the requests it has; TERM would cut them.
STOPSIGNAL SIGQUIT
ENTRYPOINT ["/opt/edge/entrypoint.sh"]
COPY --from=build /srv/media-url /opt/edge/media-url
COPY --from=build /app/nginx /opt/edge/project
COPY --from=build /srv/static /srv/static


# --- test: the runtime image with the tests and what they need -------------------------------------------
FROM runtime AS test
USER 0
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    PIP_NO_COMPILE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
COPY requirements/test.txt /build/requirements/
# venv puts back the pip that runtime does without.
RUN python3 -m venv /opt/venv \
 && pip install --require-hashes --only-binary=:all: -r /build/requirements/test.txt
# Neither wsgiserver/ nor uploadstack/ here: the tests meet what is installed.
WORKDIR /tests
COPY pyproject.toml /tests/
COPY tests /tests/tests
RUN ln -s /app /tests/app \
 && chmod -R a+rX /tests
USER 10001:10001
# pytest-django would load them at once, before the tests have given them a secret.
ENTRYPOINT ["env", "-u", "DJANGO_SETTINGS_MODULE"]
CMD ["pytest", "-p", "no:cacheprovider", "tests/server", "tests/uploadstack", "tests/app", "tests/frameworks"]
