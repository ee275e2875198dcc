"""The output of a build: a line for each stage that has work to do and for each image, with either builder."""

import itertools

import pytest

from scripts.ops.build_progress import progress

CACHED = """Building nginx
DEPRECATED: The legacy builder is deprecated and will be removed in a future release.
Sending build context to Docker daemon  1.2MB
Step 1/6 : ARG PYTHON_IMAGE=python:3.14
Step 2/6 : FROM ${PYTHON_IMAGE} AS base
 ---> 1a9a0d059c01
Step 3/6 : ENV PATH=/opt/venv/bin
 ---> Using cache
 ---> 0f4c
Step 4/6 : FROM base AS build
 ---> 0f4c
Step 5/6 : COPY app /app
 ---> Using cache
 ---> 77aa
Successfully built 77aa
Successfully tagged uploadstack-nginx:local
"""
NEW = CACHED.replace("COPY app /app\n ---> Using cache\n", "COPY app /app\n")
BUILDKIT = """#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s
#5 [web base 1/1] FROM docker.io/library/python
#5 CACHED
#6 [web build 1/2] COPY requirements /build
#6 DONE 0.2s
#7 [web build 2/2] RUN pip install
#7 0.532 Collecting django
#7 DONE 41.3s
#9 exporting to image
#9 naming to docker.io/library/uploadstack-runtime:local done
#9 DONE 0.1s
"""
OUTPUTS = {
    "classic, cached": (CACHED, ["nginx: nothing changed (3 s)"]),
    "classic, new": (NEW, ["nginx, stage build: 1 s", "nginx: built (4 s)"]),
    "classic, without Compose's line": (
        CACHED.partition("\n")[2],
        ["uploadstack-nginx:local: nothing changed (3 s)"],
    ),
    "BuildKit": (BUILDKIT, ["stage web build: 42 s", "uploadstack-runtime:local: ready"]),
    "BuildKit, cached": (BUILDKIT.replace("DONE 41.3s", "CACHED"), ["uploadstack-runtime:local: ready"]),
    "nothing that is known": ("hello\n\n#12 hm\n", []),
}


@pytest.mark.parametrize("builder", OUTPUTS)
def test_a_build_prints_one_line_for_each_stage_and_image(builder: str) -> None:
    """The clock advances by a second at each reading."""
    text, expected = OUTPUTS[builder]
    clock = map(float, itertools.count())
    assert list(progress(text.splitlines(keepends=True), lambda: next(clock))) == expected
