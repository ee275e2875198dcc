import fcntl
import os
import random
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from photos import errors, images
from tests.app.pictures import animation, bomb, encoded, ihdr, picture, png, png_with, rotated_photo

VALID = {
    "jpeg": (picture(64, 48), "image/jpeg", (64, 48)),
    "progressive jpeg": (picture(640, 480, progressive=True), "image/jpeg", (640, 480)),
    "grey jpeg": (picture(64, 48, mode="L"), "image/jpeg", (64, 48)),
    "cmyk jpeg": (picture(64, 48, mode="CMYK"), "image/jpeg", (64, 48)),
    "jpeg with a preview behind it": (
        encoded(Image.new("RGB", (64, 48)), "MPO", save_all=True, append_images=[Image.new("RGB", (8, 6))]),
        "image/jpeg",
        (64, 48),
    ),
    "jpeg with broken exif": (picture(64, 48, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff"), "image/jpeg", (64, 48)),
    "png": (picture(64, 48, "PNG"), "image/png", (64, 48)),
    "transparent png": (picture(64, 48, "PNG", "RGBA"), "image/png", (64, 48)),
    "16 bit png": (encoded(Image.new("I;16", (64, 48), 30_000), "PNG"), "image/png", (64, 48)),
    "palette png": (encoded(Image.new("P", (64, 48)), "PNG"), "image/png", (64, 48)),
    "webp": (picture(64, 48, "WEBP"), "image/webp", (64, 48)),
    "gif": (encoded(Image.new("P", (64, 48)), "GIF"), "image/gif", (64, 48)),
    "avif": (picture(64, 48, "AVIF"), "image/avif", (64, 48)),
    "animated gif": (animation("GIF"), "image/gif", (40, 30)),
    "animated webp": (animation("WEBP"), "image/webp", (40, 30)),
    "one pixel": (picture(1, 1, "PNG"), "image/png", (1, 1)),
    "a thread": (picture(2000, 1, "PNG"), "image/png", (2000, 1)),
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
@pytest.mark.parametrize("case", VALID)
def test_a_valid_picture_is_decoded(case: str) -> None:
    data, content_type, size = VALID[case]
    found = images.inspect(BytesIO(data))
    assert (found.kind.content_type, (found.width, found.height)) == (content_type, size)
    with Image.open(BytesIO(found.thumbnail)) as small:
        assert small.format == "WEBP"
        assert max(small.size) <= images.THUMBNAIL_MAX
        assert max(small.size) == min(images.THUMBNAIL_MAX, max(size))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
@pytest.mark.parametrize("case", VALID)
def test_bytes_after_a_picture_are_ignored(case: str) -> None:
    data, content_type, size = VALID[case]
    found = images.inspect(BytesIO(data + bytes(1_000_000)))
    assert (found.kind.content_type, (found.width, found.height)) == (content_type, size)


HOSTILE = {
    "text": (b"Dear server,\nthis is no picture.\n" * 100, errors.NotAnImage),
    "nothing": (b"", errors.NotAnImage),
    "html that says gif": (b"<html>GIF89a", errors.NotAnImage),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", errors.NotAnImage),
    "bmp": (picture(8, 8, "BMP"), errors.NotAnImage),
    "tiff": (picture(8, 8, "TIFF"), errors.NotAnImage),
    "a signature and no more": (b"\xff\xd8\xff", errors.ImageTruncated),
    "a png's signature before text": (b"\x89PNG\r\n\x1a\n" + b"text" * 99, errors.ImageTruncated),
    "a png with a flipped bit": (
        picture(64, 48, "PNG").replace(b"IDAT", b"IDAT\xff", 1)[:-1],
        errors.ImageTruncated,
    ),
    "a bomb": (bomb(12_000, 12_000), errors.ImageTooManyPixels),
    "a bomb beyond twice the limit": (bomb(20_000, 10_000), errors.ImageTooManyPixels),
    "more webp than its decoder's appetite allows": (
        encoded(Image.new("RGB", (5000, 5000)), "WEBP", method=0, quality=1),
        errors.ImageTooManyPixels,
    ),
    "a bomb of a gif": (
        b"GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\xff\xff\xff\xff\0\x02\x02D\x01\0;",
        errors.ImageTooManyPixels,
    ),
    "a small png with a huge chunk": (png_with((b"juNk", bytes(80 * 1024**2))), errors.ImageTooComplex),
    "a small png with a million chunks": (png_with(*[(b"juNk", b"")] * 1_000_000), errors.ImageTooComplex),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_with_its_error(case: str) -> None:
    data, expected = HOSTILE[case]
    with pytest.raises(expected) as refusal:
        images.inspect(BytesIO(data))
    assert str(refusal.value).endswith(".")  # a sentence


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_picture_is_refused_as_truncated(kind: str, share: float) -> None:
    data = picture(200, 150, kind, "L" if kind == "GIF" else "RGB")
    with pytest.raises(errors.ImageTruncated):
        images.inspect(BytesIO(data[: int(len(data) * share)]))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_bytes_after_a_picture_are_not_read_into_memory(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "padded"
    path.write_bytes(picture(64, 48, kind, "L" if kind == "GIF" else "RGB"))
    os.truncate(path, 320 * 1024**2)  # a hole: takes no space on the disk
    with path.open("rb") as file:
        assert peak_of(lambda: images.inspect(file)) < 150 * 1024**2  # WebP: twice the 64 MiB of the meter


def noise(number: int) -> Image.Image:
    return Image.frombytes("RGB", (1200, 1000), random.Random(number).randbytes(1200 * 1000 * 3))


def with_text(size: int) -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("a", "x" * size, zip=True)
    return encoded(Image.new("RGB", (64, 48)), "PNG", pnginfo=text)


def frames(kind: str, **options: object) -> bytes:
    """Return a picture with more than 64 MiB of frames."""
    first, *more = [noise(number) for number in range(19)]
    return encoded(first, kind, save_all=True, append_images=more, **options)


LARGE_FILES: dict[str, Callable[[], bytes]] = {
    "animated webp": lambda: frames("WEBP", lossless=True, quality=0, method=0),
    "animated png": lambda: frames("PNG", compress_level=0),
    "webp with much exif": lambda: picture(64, 48, "WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0" + bytes(70_000_000)),
    "webp with a large profile": lambda: picture(64, 48, "WEBP", icc_profile=bytes(70_000_000)),
    "png with much packed text": lambda: with_text(3_000_000),
    "png with a large profile": lambda: picture(64, 48, "PNG", icc_profile=random.Random(1).randbytes(3_000_000)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", LARGE_FILES)
def test_a_large_file_of_a_valid_picture_is_accepted(case: str) -> None:
    assert images.inspect(BytesIO(LARGE_FILES[case]())).width in {64, 1200}


def test_a_picture_with_too_much_text_is_refused_as_too_complex() -> None:
    with pytest.raises(errors.ImageTooComplex):
        images.inspect(BytesIO(with_text(25_000_000)))


def test_large_pictures_are_decoded_one_at_a_time() -> None:
    large, small = encoded(Image.new("RGB", (4000, 3000)), "PNG"), picture()
    found: list[images.Picture] = []
    waiting = threading.Thread(target=lambda: found.append(images.inspect(BytesIO(large))))
    with Path(images.__file__).open("rb") as other_process:
        fcntl.flock(other_process, fcntl.LOCK_EX)
        images.inspect(BytesIO(small))  # does not wait
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
    waiting.join()
    assert [picture.width for picture in found] == [4000]


def test_a_huge_chunk_is_not_read() -> None:
    data, _ = HOSTILE["a small png with a huge chunk"]

    def refused() -> None:
        with pytest.raises(errors.ImageTooComplex):
            images.inspect(BytesIO(data))

    assert peak_of(refused) < 100 * 1024**2


def peak_of(action: Callable[[], object]) -> int:
    """Return the peak of the bytes that Python code, including Pillow's readers, allocated."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("orientation", "shown", "red_side"),
    [
        (1, (80, 40), "left"),
        (2, (80, 40), "right"),
        (3, (80, 40), "right"),
        (4, (80, 40), "left"),
        (5, (40, 80), "top"),
        (6, (40, 80), "top"),
        (7, (40, 80), "bottom"),
        (8, (40, 80), "bottom"),
    ],
)
def test_the_thumbnail_of_a_rotated_photo_is_upright(orientation: int, shown: tuple[int, int], red_side: str) -> None:
    found = images.inspect(BytesIO(rotated_photo(80, 40, orientation)))
    assert (found.width, found.height) == shown
    with Image.open(BytesIO(found.thumbnail)) as small:
        width, height = small.size
        assert (width, height) == shown
        points = {"left": (4, height // 2), "right": (width - 4, height // 2)}
        points |= {"top": (width // 2, 4), "bottom": (width // 2, height - 4)}
        red, _, blue = small.convert("RGB").getpixel(points[red_side])  # type: ignore[misc]  # three bands, three values
    assert (red > 200, blue < 100) == (True, True)


def test_the_orientation_of_a_png_may_follow_its_pixels() -> None:
    """PNG (third edition), 5.6: eXIf may come before or after IDAT."""
    turned = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
    data = png(ihdr(8, 1), (b"IDAT", zlib.compress(b"\0\0")), (b"eXIf", turned), (b"IEND", b""))
    found = images.inspect(BytesIO(data))
    assert (found.width, found.height) == (1, 8)


def test_a_thumbnail_has_no_metadata() -> None:
    data = rotated_photo(80, 40, 1)
    assert b"N-of-home" in data
    thumbnail = images.inspect(BytesIO(data)).thumbnail
    assert b"N-of-home" not in thumbnail
    with Image.open(BytesIO(thumbnail)) as small:
        assert not small.getexif()
        assert "xmp" not in small.info
