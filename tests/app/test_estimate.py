"""The memory for decoding is predicted from the header, and decoding takes no more."""

import os
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from photos import errors, estimate, exif, images, pixels
from photos.limits import MEMORY_MAX, SMALL
from tests.app import hostile
from tests.app.hostile import MIB, box, memory
from tests.app.pictures import encoded, png
from tests.forks import in_fork

EIGHT_BITS_420, TEN_BITS_444 = b"\x0c", b"\x40"


def png_head(width: int, height: int, depth: int, colour: int, *more: tuple[bytes, bytes]) -> bytes:
    return png((b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), *more, (b"IDAT", b""))


def webp_head(width: int, height: int, flags: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<IB3x", 10, flags) + canvas


def avif_head(width: int, height: int, flags: bytes, *, alpha: bool = False, sequence: bool = False) -> bytes:
    properties = box(b"ispe", struct.pack(">4xII", width, height)) + box(b"av1C", b"\x81\0" + flags + b"\0")
    if alpha:
        properties += box(b"auxC", b"\0\0\0\0urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
    boxes = box(b"ftyp", b"avif\0\0\0\0avifmif1") + box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", properties)))
    return boxes + (box(b"moov", b"") if sequence else b"")


def jpeg_head(marker: int, width: int, height: int, factors: tuple[int, ...], in_first: int) -> bytes:
    return hostile.jpeg(
        hostile.tables(),
        hostile.frame(marker, width, height, factors),
        hostile.scan(tuple(range(1, in_first + 1))) + b"\0",
    )


YCC_420, YCC_444, CMYK = (0x22, 0x11, 0x11), (0x11,) * 3, (0x11,) * 4
TOO_COMPLEX, TOO_MANY_PIXELS, CUT = errors.ImageTooComplex, errors.ImageTooManyPixels, errors.ImageTruncated

# Header -> a problem, or the range of the predicted memory in megabytes (of a million bytes).
CASES: dict[str, tuple[bytes, type[errors.Problem] | tuple[int, int]]] = {
    "a phone's 12 megapixels": (jpeg_head(0xC0, 4032, 3024, YCC_420, 3), (1, 12)),
    "50 megapixels": (jpeg_head(0xC0, 8160, 6120, YCC_420, 3), (1, 12)),
    "108 megapixels": (jpeg_head(0xC0, 12000, 9000, YCC_420, 3), (1, 20)),
    "200 megapixels": (jpeg_head(0xC0, 16320, 12240, YCC_420, 3), (1, 20)),
    "a panorama": (jpeg_head(0xC0, 32000, 3000, YCC_420, 3), (1, 20)),
    "the widest panorama": (jpeg_head(0xC0, 65500, 480, YCC_420, 3), (1, 20)),
    "more than 200 megapixels": (jpeg_head(0xC0, 20000, 12000, YCC_420, 3), TOO_MANY_PIXELS),
    "12 megapixels, progressive": (jpeg_head(0xC2, 4000, 3000, YCC_420, 3), (36, 48)),
    "48 megapixels, progressive": (jpeg_head(0xC2, 8000, 6000, YCC_420, 3), (144, 160)),
    "48 megapixels, progressive, all colours": (jpeg_head(0xC2, 8000, 6000, YCC_444, 3), (288, 300)),
    "progressive, all colours, too large": (jpeg_head(0xC2, 9400, 9400, YCC_444, 3), TOO_COMPLEX),
    "progressive cmyk": (jpeg_head(0xC2, 9400, 9400, CMYK, 4), TOO_COMPLEX),
    "baseline cmyk in one scan": (jpeg_head(0xC0, 9400, 9400, CMYK, 4), (1, 20)),
    "baseline cmyk in scans of their own": (jpeg_head(0xC0, 9400, 9400, CMYK, 1), TOO_COMPLEX),
    "the same with extended coding": (jpeg_head(0xC1, 9400, 9400, CMYK, 1), TOO_COMPLEX),
    "progressive and arithmetic": (jpeg_head(0xCA, 9400, 9400, CMYK, 4), TOO_COMPLEX),
    "lossless": (jpeg_head(0xC3, 9400, 9400, CMYK, 4), TOO_COMPLEX),
    "sampling factors that blow up": (jpeg_head(0xC2, 9400, 9400, (0x11, 0x41, 0x14), 3), (99, 120)),
    "one thin row": (jpeg_head(0xC2, 65500, 1, (0x44, 0x11, 0x11), 3), (4, 10)),
    "a jpeg of two frames": (
        hostile.jpeg(hostile.frame(0xC0, 8, 8), hostile.frame(0xC2, 9400, 9400, CMYK), hostile.scan()),
        CUT,
    ),
    "a jpeg without a frame": (hostile.jpeg(hostile.tables(), hostile.scan()), CUT),
    "a jpeg without components": (hostile.jpeg(hostile.frame(0xC0, 8, 8, ()), hostile.scan()), CUT),
    "a jpeg's empty segment": (hostile.jpeg(b"\xff\xe0\0\0"), CUT),
    "4,000 scans": (hostile.of_many_scans(64, 4000), TOO_COMPLEX),
    "4,000 scans with a comment between": (
        hostile.of_many_scans(64, 4000).replace(hostile.scan((1,), 1, 63), hostile.segment(0xFE) + hostile.scan()),
        TOO_COMPLEX,
    ),
    "100 scans, each over 48 megapixels": (
        hostile.jpeg(hostile.frame(0xC2, 8000, 6000, YCC_444), *[hostile.scan()] * 100),
        TOO_COMPLEX,
    ),
    "5,000 comments": (hostile.with_segments(0xFE, b"", 5000), TOO_COMPLEX),
    "5,000 tables": (hostile.with_segments(0xC4, bytes(17), 5000), TOO_COMPLEX),
    "tables of many megabytes": (hostile.with_segments(0xDB, bytes(60_000), 100), TOO_COMPLEX),
    "100 depth maps": (hostile.with_segments(0xE1, b"http://ns.adobe.com/xmp/extension/" + bytes(60_000), 100), (1, 6)),
    "a screenshot": (png_head(2560, 1440, 8, 2), (14, 20)),
    "grey with 16 bits": (png_head(6000, 4000, 16, 0), (48, 54)),
    "rgba, as large as may be": (png_head(9400, 9400, 8, 6), (353, 370)),
    "black and white, too large": (png_head(10_000, 10_000, 1, 0), TOO_MANY_PIXELS),
    "an animated png": (png_head(6600, 6600, 8, 6, (b"acTL", struct.pack(">II", 2, 0))), TOO_COMPLEX),
    "an animated png of one frame": (png_head(6000, 4000, 8, 6, (b"acTL", struct.pack(">II", 1, 0))), (96, 102)),
    "a small animated png": (png_head(1000, 1000, 8, 6, (b"acTL", struct.pack(">II", 2, 0))), (16, 24)),
    "a png with 5,000 texts": (png_head(8, 8, 8, 6, *[(b"tEXt", b"a\0b")] * 5000), TOO_COMPLEX),
    "a png cut in a chunk": (png_head(8, 8, 8, 6, (b"tEXt", bytes(100)))[:60], CUT),
    "a webp of 24 megapixels": (webp_head(6000, 4000, 0), (288, 300)),
    "one of a phone": (webp_head(5712, 4284, 0x1C), (288, 300)),
    "a webp of 25 megapixels": (webp_head(5000, 5000, 0), TOO_MANY_PIXELS),
    "an animated webp": (webp_head(4900, 4900, 2), TOO_COMPLEX),
    "a webp of 5,000 chunks": (
        webp_head(10, 10, 0)[:4] + b"\xff\xff\xff\0" + webp_head(10, 10, 0)[8:] + b"junk\0\0\0\0" * 5000,
        TOO_COMPLEX,
    ),
    "a webp cut short": (webp_head(10, 10, 0)[:25], CUT),
    "a gif": (hostile.gif(6600, 1), (43, 50)),
    "a gif of two frames": (hostile.gif(6600, 2), TOO_COMPLEX),
    "a gif whose second frame is larger than it says": (
        hostile.gif(100, 1)[:-1] + hostile.gif(8000, 1)[19:],
        TOO_COMPLEX,
    ),
    "a gif with a long comment between its frames": (
        hostile.gif(6600, 1)[:-1] + hostile.comment(60_000) + hostile.gif(6600, 1)[19:],
        TOO_COMPLEX,
    ),
    "a gif with megabytes of comments": (hostile.gif(16, 1, hostile.comment(2_000_000)), TOO_COMPLEX),
    "a gif of a million zeros": (hostile.gif(16, 1, bytes(1_100_000)), TOO_COMPLEX),
    "a gif cut short": (b"GIF89a\x10", CUT),
    "an avif of 24 megapixels": (avif_head(6000, 4000, EIGHT_BITS_420), (220, 250)),
    "the same with alpha": (avif_head(6000, 4000, EIGHT_BITS_420, alpha=True), (270, 310)),
    "an avif with alpha and all colours": (avif_head(5950, 5950, b"\0", alpha=True), TOO_COMPLEX),
    "an avif of ten bits": (avif_head(5600, 5600, TEN_BITS_444), TOO_COMPLEX),
    "an avif of two frames": (avif_head(5950, 5950, EIGHT_BITS_420, sequence=True), TOO_COMPLEX),
    "an avif that is too large": (avif_head(8000, 6000, EIGHT_BITS_420), TOO_MANY_PIXELS),
    "an avif that does not say how large it is": (box(b"ftyp", b"avif\0\0\0\0"), CUT),
    "an avif with a description of megabytes": (
        box(b"ftyp", b"avif\0\0\0\0") + box(b"meta", bytes(5 * MIB)),
        TOO_COMPLEX,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_memory_for_decoding_is_estimated_from_the_header(case: str) -> None:
    data, expected = CASES[case]
    file = BytesIO(data)
    kind = next(kind for kind in images.KINDS if kind.is_signature(data[:12]))
    if isinstance(expected, tuple):
        minimum, maximum = expected
        assert minimum <= estimate.from_header(file, kind).memory / 1_000_000 <= maximum
    else:
        with pytest.raises(expected):
            estimate.from_header(file, kind)


@pytest.mark.parametrize("name", [b"iinf", b"iloc", b"iref", b"ipma"])
def test_an_avif_of_very_many_items_is_refused_before_it_is_decoded(name: bytes) -> None:
    """Decoding 1 MB of items took libavif 17 s of CPU. A thousand tiles are harmless."""
    data = flat_picture(64, "AVIF")
    start = data.index(b"meta") - 4
    kind = next(kind for kind in images.KINDS if kind.pillow == "AVIF")

    def with_list(entries: int) -> BytesIO:
        more = struct.pack(">I4s", 8 + entries, name) + bytes(entries)
        size = int.from_bytes(data[start : start + 4])
        end = start + size
        return BytesIO(data[:start] + struct.pack(">I", size + len(more)) + data[start + 4 : end] + more + data[end:])

    estimate.from_header(with_list(50_000), kind)
    with pytest.raises(errors.ImageTooComplex):
        estimate.from_header(with_list(100_000), kind)


def flat_picture(side: int, kind: str, mode: str = "RGB", **options: object) -> bytes:
    return encoded(Image.new(mode, (side, side), 9), kind, **options)


# Real pictures, of several megapixels each.
PICTURES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: hostile.camera_jpeg(4000, 3000),
    "jpeg of 108 megapixels": lambda: hostile.camera_jpeg(12_000, 9000),
    "progressive jpeg": lambda: hostile.camera_jpeg(4000, 3000, progressive=True),
    "progressive jpeg, all colours": lambda: hostile.camera_jpeg(4000, 3000, progressive=True, subsampling=0),
    "progressive cmyk jpeg": lambda: hostile.progressive(3000, "CMYK"),
    "jpeg in separate scans": lambda: hostile.in_separate_scans(4000, 4),
    "panorama": lambda: hostile.camera_jpeg(32_000, 2000),
    "rgba png": lambda: hostile.flat_png(4000, 3000),
    "rgb png of 16 bits": lambda: hostile.flat_png(4000, 3000, 2, 16),
    "grey png of 16 bits": lambda: hostile.flat_png(4000, 3000, 0, 16),
    "palette png": lambda: flat_picture(4000, "PNG", "P"),
    "wide png": lambda: hostile.flat_png(44_000, 1000),
    "line of a png": lambda: hostile.flat_png(40_000_000, 1, 0),
    "column of a png": lambda: hostile.flat_png(1, 2_000_000, 0),
    "animated png": lambda: hostile.animation("PNG", 2000, 3, disposal=2),
    "gif": lambda: flat_picture(4000, "GIF", "P"),
    "animated gif": lambda: hostile.animation("GIF", 2000, 3, disposal=2),
    "animated gif that restores": lambda: hostile.animation("GIF", 2000, 3, disposal=3),
    "webp": lambda: flat_picture(3000, "WEBP", quality=50, method=0),
    "lossless webp": lambda: flat_picture(3000, "WEBP", lossless=True, quality=0, method=0),
    "webp with alpha": lambda: encoded(Image.effect_noise((3000, 3000), 9).convert("RGBA"), "WEBP", method=0),
    "animated webp": lambda: hostile.animation("WEBP", 2000, 3, lossless=True, quality=0, method=0),
    "avif": lambda: flat_picture(3000, "AVIF", speed=10),
    "avif with all colours": lambda: flat_picture(3000, "AVIF", speed=10, subsampling="4:4:4"),
    "avif with alpha": lambda: hostile.animation("AVIF", 3000, 1, speed=10),
    "animated avif": lambda: hostile.animation("AVIF", 2000, 3, speed=10, subsampling="4:4:4"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", PICTURES)
def test_decoding_takes_no_more_memory_than_estimated(case: str) -> None:
    data = PICTURES[case]()
    kind = next(kind for kind in images.KINDS if kind.is_signature(data[:12]))
    estimated = estimate.from_header(BytesIO(data), kind)
    assert estimated.memory <= MEMORY_MAX
    growth = growth_of(lambda: pixels.decode(BytesIO(data), kind, estimated))
    # 24 MiB for the thumbnail: three times its size, one tile, code of libraries.
    assert growth < estimated.memory + 24 * MIB, f"{growth / MIB:.0f} MiB, estimated {estimated.memory / MIB:.0f}"


def growth_of(action: Callable[[], object]) -> int:
    """Return by how many bytes the peak memory of a forked process grows through this action."""
    reader, writer = os.pipe()

    def measure() -> None:
        pixels.prepare()
        Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
        before = memory("VmHWM")
        action()
        os.write(writer, str(memory("VmHWM") - before).encode())

    assert in_fork(measure) == 0
    os.close(writer)
    with os.fdopen(reader) as answer:
        return int(answer.read())


def test_pictures_of_cameras_count_as_small() -> None:
    for name in ("a phone's 12 megapixels", "50 megapixels", "108 megapixels", "200 megapixels", "a panorama"):
        file = BytesIO(CASES[name][0])
        assert estimate.from_header(file, images.KINDS[0]).memory < SMALL


def tiff(order: str, *entries: tuple[int, int, int]) -> bytes:
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    return head + b"".join(struct.pack(order + "HHIHH", tag, kind, 1, value, 0) for tag, kind, value in entries)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (tiff("<", (0x0100, 3, 9), (0x0112, 3, 6)), 6),
        (tiff(">", (0x0112, 3, 8)), 8),
        (b"Exif\0\0" + tiff(">", (0x0112, 3, 8)), 8),
        (tiff("<", (0x0112, 3, 9)), 1),
        (tiff("<", (0x0112, 3, 0)), 1),
        (tiff("<", (0x0112, 7, 6)), 1),
        (tiff("<", (0x0100, 3, 6)), 1),
        (tiff("<", (0x0112, 3, 6))[:-8], 1),
        (b"II*\0\xff\xff\xff\xff", 1),
        (b"II*\0", 1),
        (b"", 1),
        (b"no exif at all", 1),
        (hostile.directory(65_000, 60_000), 1),
    ],
)
def test_the_orientation_is_read_from_exif(data: bytes, expected: int) -> None:
    assert exif.orientation(data) == expected
