"""Stand-ins for images: the version that a stand-in must have."""

import pytest

from scripts.ops.images import version_of

# Image -> the version that its stand-in must have.
VERSIONS = {
    "python:3.14-slim-trixie": "3.14",
    "nginx:1.30": "1.30",
    "postgres:18": "18",
    "prom/prometheus:v3.13.2": "3",
    "registry.example.com:5000/library/python:3.14-slim": "3.14",
    "nginx:mainline": "",
    "nginx": "",
}


@pytest.mark.parametrize("image", VERSIONS)
def test_the_version_is_parsed_from_the_name_of_an_image(image: str) -> None:
    assert version_of(image) == VERSIONS[image]
