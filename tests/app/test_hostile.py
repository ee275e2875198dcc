"""Small files that are expensive to decode, sent as uploads: refused with a reason or stored, without side effects.

No worker grows, the log gets at most two lines, a refused upload leaves no file, and the next picture is stored as
usual.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client
from PIL import Image

from tests.app import hostile, state
from tests.app.conftest import client_of
from tests.app.hostile import MIB, memory
from tests.app.pictures import encoded, picture, png_with

pytestmark = pytest.mark.slow  # the tests encode and decode large pictures
COMPLEX = "image-too-complex"

# Function that makes the picture; the error, or "" if it is stored.
PICTURES: dict[str, tuple[Callable[[], bytes], str]] = {
    "gif of two frames": (lambda: hostile.animation("GIF", 6600, disposal=3), COMPLEX),
    "animated png": (lambda: hostile.animation("PNG", 6600, disposal=2), COMPLEX),
    "avif of two frames": (lambda: hostile.animation("AVIF", 5950, speed=10), COMPLEX),
    "avif with alpha": (lambda: hostile.animation("AVIF", 5950, 1, speed=10), COMPLEX),
    "progressive cmyk jpeg": (lambda: hostile.progressive(9400, "CMYK"), COMPLEX),
    "progressive jpeg, all colours": (lambda: hostile.progressive(9400, "RGB"), COMPLEX),
    "cmyk jpeg in separate scans": (lambda: hostile.in_separate_scans(9400, 4), COMPLEX),
    "jpeg of 4,000 scans": (lambda: hostile.of_many_scans(2000, 4000), COMPLEX),
    "jpeg of 19 MB of exif segments": (
        lambda: hostile.with_segments(0xE1, b"Exif\0\0" + bytes(32), 450_000),
        COMPLEX,
    ),
    "jpeg of 3,000 exif segments": (lambda: hostile.with_segments(0xE1, b"Exif\0\0" + bytes(2000), 3000), ""),
    "jpeg of 3,000 profiles": (lambda: hostile.with_segments(0xE2, b"ICC_PROFILE\0\1\1" + bytes(2000), 3000), ""),
    "jpeg of 65,000 tags": (lambda: hostile.jpeg_with_exif(hostile.directory(65_000, 4)), ""),
    "jpeg of tags that name the same bytes": (lambda: hostile.jpeg_with_exif(hostile.directory(5000, 60_000)), ""),
    "png of tags that name the same bytes": (lambda: hostile.png_with_exif(hostile.directory(65_000, 800_000)), ""),
    "webp of tags that name the same bytes": (
        lambda: encoded(Image.new("RGB", (16, 16)), "WEBP", exif=b"Exif\0\0" + hostile.directory(20_000, 800_000)),
        "",
    ),
    "gif of 19 MB of comments": (lambda: hostile.gif(16, 1, hostile.comment(19_000_000)), COMPLEX),
    "png of 300,000 empty pieces": (lambda: png_with(*[(b"IDAT", b"")] * 300_000), ""),
    "png of 1,500,000 empty pieces": (lambda: png_with(*[(b"IDAT", b"")] * 1_500_000), COMPLEX),
    "wide png": (lambda: hostile.flat_png(44_000, 2000), ""),
    "rgba png of 88 megapixels": (lambda: hostile.flat_png(9380, 9380), ""),
    "webp of 24 megapixels": (lambda: encoded(Image.new("RGB", (6000, 4000), 9), "WEBP", method=0), ""),
    "jpeg of 50 megapixels": (lambda: hostile.camera_jpeg(8160, 6120), ""),
    "jpeg of 108 megapixels": (lambda: hostile.camera_jpeg(12_000, 9000), ""),
    "progressive jpeg of 48 megapixels": (lambda: hostile.camera_jpeg(8000, 6000, progressive=True), ""),
    "heic of 48 megapixels": (lambda: hostile.heic(16, 12), ""),
    "heic of 48 megapixels, all colours": (lambda: hostile.heic(16, 12, chroma=444), COMPLEX),
    "heic that says it is smaller": (lambda: hostile.heic(16, 12, declared=(64, 64)), "image-truncated"),
    "panorama": (lambda: hostile.camera_jpeg(32_000, 3000), ""),
}


@pytest.mark.parametrize("case", PICTURES)
def test_a_hostile_picture_is_refused_or_stored_at_no_cost(
    case: str, api: Client, media: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, expected = PICTURES[case]
    assert put(api, "first", picture()) == ""  # loads what is loaded only once
    data = make()
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = memory("VmHWM")
    capfd.readouterr()
    assert put(api, "a", data) == expected
    assert memory("VmHWM") - before < len(data) + 24 * MIB
    assert len("".join(capfd.readouterr()).splitlines()) <= 2
    assert put(api, "b", picture()) == ""
    state.check(media, {"first", "b"} if expected else {"first", "a", "b"})


def put(api: Client, name: str, data: bytes) -> str:
    """Upload a picture; return the name of the error, or '' if it is stored."""
    response = api.put(f"/api/photos/{name}", data, content_type="image/jpeg")
    return "" if response.status_code == 201 else str(response.json()["error"])


def test_large_pictures_in_a_row_do_not_accumulate_memory(ada: User) -> None:
    """The memory of each picture is released: 88 megapixels of RGBA take 350 MB."""
    api, data = client_of(ada), hostile.flat_png(9380, 9380)
    assert put(api, "first", data) == ""
    before = memory("VmRSS")
    assert [put(api, str(number), data) for number in range(3)] == ["", "", ""]
    assert memory("VmRSS") - before < 24 * MIB
