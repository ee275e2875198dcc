"""HEIC pictures, as iPhones send them: stored, upright, shown, distinguished from AVIF; and hostile ones."""

import random
import struct
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO

import pillow_heif
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from PIL import ExifTags, Image, ImageCms

from photos import decoding, errors, estimate, images, pixels
from photos.limits import MEMORY_MAX, PREVIEW_MAX
from photos.models import Photo
from tests.app.hostile import MIB, box
from tests.app.pictures import encoded, picture
from tests.app.test_estimate import growth_of

pillow_heif.register_heif_opener()
RED, GREEN, BLUE, WHITE = (220, 20, 20), (20, 180, 20), (20, 20, 220), (240, 240, 240)
HEIC = next(kind for kind in images.KINDS if kind.pillow == "HEIC")


def corners(width: int, height: int) -> Image.Image:
    """Return a picture with a different colour in each quarter: red, green; blue, white."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def orientation(number: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = number
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] = "N-of-home"
    return exif.tobytes()


FAST = {"preset": "ultrafast"}  # for x265, which would take most of the time of these tests


def heic(image: Image.Image, **options: object) -> bytes:
    return encoded(image, "HEIF", quality=80, enc_params=FAST, **options)


def colours(rendition: bytes) -> list[str]:
    """Return the colours of the four corners, row by row."""
    with Image.open(BytesIO(rendition)) as image:
        width, height = image.size
        pixels_of = image.convert("RGB").load()
    assert pixels_of
    points = [(x, y) for y in (height // 8, height * 7 // 8) for x in (width // 8, width * 7 // 8)]
    return [name_of(pixels_of[point]) for point in points]  # type: ignore[arg-type]  # three bands, three values


def name_of(pixel: tuple[int, ...]) -> str:
    for name, colour in {"red": RED, "green": GREEN, "blue": BLUE, "white": WHITE}.items():
        if max(abs(a - b) for a, b in zip(colour, pixel, strict=True)) < 40:
            return name
    return str(pixel)


def inspected(data: bytes) -> images.Picture:
    return images.inspect(BytesIO(data))


def rotated_portrait() -> Image.Image:
    """Return a portrait as the sensor sees it: turned right by 90 degrees, it is red, green; blue, white."""
    return corners(1200, 1600).transpose(Image.Transpose.ROTATE_90)


PORTRAITS: dict[str, Callable[[], bytes]] = {
    "upright pixels": lambda: heic(corners(1200, 1600)),
    "turned by irot, and EXIF that says so too": lambda: heic(rotated_portrait(), exif=orientation(6)),
    "turned by irot, without EXIF": lambda: heic(rotated_portrait(), exif=orientation(6)).replace(b"Exif", b"none", 1),
    "in tiles, turned": lambda: heic(rotated_portrait(), exif=orientation(6), tile_size=512),
    "upright, and EXIF that would turn it": lambda: exif_without_irot(heic(corners(1200, 1600), exif=orientation(1))),
}


def exif_without_irot(data: bytes) -> bytes:
    """Add an EXIF orientation without irot, which readers must ignore (ISO 23008-12, annex A)."""
    start = data.index(struct.pack(">HHI", 0x0112, 3, 1)) + 8
    return data[:start] + struct.pack(">H", 6) + data[start + 2 :]


@pytest.mark.parametrize("case", PORTRAITS)
def test_a_heic_portrait_is_upright(case: str) -> None:
    found = inspected(PORTRAITS[case]())
    assert (found.width, found.height) == (1200, 1600)
    for rendition, size in ((found.thumbnail, 480), (found.thumbnail_2x, 960), (found.preview, 1600)):
        with Image.open(BytesIO(rendition)) as image:
            assert (image.format, image.size) == ("WEBP", (size * 3 // 4, size))
        assert colours(rendition) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("number", range(1, 9))
def test_each_orientation_is_applied_exactly_once(number: int) -> None:
    turn = pixels._UPRIGHT.get(number)  # noqa: SLF001 - the table of EXIF
    as_seen = corners(640, 480)
    back = {6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}.get(number, turn)
    found = inspected(heic(as_seen.transpose(back) if back is not None else as_seen, exif=orientation(number)))
    assert (found.width, found.height) == (640, 480)
    assert colours(found.preview) == colours(found.thumbnail) == ["red", "green", "blue", "white"]


@pytest.mark.parametrize("case", PORTRAITS)
def test_a_heic_portrait_is_stored_by_put_and_by_the_form(case: str, api: Client, media: object) -> None:
    data = PORTRAITS[case]()
    answer = api.put("/api/photos/IMG_0001.HEIC", data, content_type="image/heic")
    assert answer.status_code == 201, answer.content
    facts = answer.json()
    assert (facts["content_type"], facts["width"], facts["height"]) == ("image/heic", 1200, 1600)
    for name in ("thumbnail", "thumbnail_2x", "preview"):
        got = api.get(facts[name])
        assert got["Content-Type"] == "image/webp"
        assert "immutable" in got["Cache-Control"]
        body = got.getvalue()
        assert colours(body) == ["red", "green", "blue", "white"]
        assert b"N-of-home" not in body
    form = api.post("/api/photos/", {"file": SimpleUploadedFile("IMG_0002.heic", data, "image/heic")})
    assert form.status_code == 201, form.content
    photo = Photo.objects.get(name="IMG_0002.heic")
    assert (photo.width, photo.height, photo.original[-5:]) == (1200, 1600, ".heic")
    assert photo.preview
    assert photo.thumbnail_2x


def mode_of(image: Image.Image, depth: int = 8, **options: object) -> bytes:
    if depth == 8:
        return heic(image, **options)
    narrow = image.tobytes()
    wide = bytearray(2 * len(narrow))
    wide[::2] = wide[1::2] = narrow  # each value times 257
    buffer = BytesIO()
    pillow_heif.options.SAVE_HDR_TO_12_BIT = depth == 12
    pillow_heif.from_bytes(image.mode + ";16", image.size, bytes(wide)).save(
        buffer, quality=80, enc_params=FAST, **options
    )
    return buffer.getvalue()


VALID: dict[str, Callable[[], bytes]] = {
    "ten bits": lambda: mode_of(corners(320, 240), 10),
    "twelve bits": lambda: mode_of(corners(320, 240), 12),
    "ten bits with alpha": lambda: mode_of(corners(320, 240).convert("RGBA"), 10),
    "alpha": lambda: heic(corners(320, 240).convert("RGBA")),
    "all colours": lambda: heic(corners(320, 240), chroma=444),
    "half of the colours": lambda: heic(corners(320, 240), chroma=422),
    "a burst": lambda: heic(corners(320, 240), save_all=True, append_images=[Image.new("RGB", (64, 48))]),
    "the second is the main one": lambda: heic(
        Image.new("RGB", (64, 48)), save_all=True, append_images=[corners(320, 240)], primary_index=1
    ),
    "a thumbnail in it": lambda: heic(corners(320, 240), thumbnails=[64]),
    "odd sides": lambda: heic(corners(319, 241)),
    "heix": lambda: branded(heic(corners(320, 240)), b"heix", b"mif1", b"heix"),
    "heim": lambda: branded(heic(corners(320, 240)), b"heim", b"mif1"),
    "heis": lambda: branded(heic(corners(320, 240)), b"heis", b"mif1"),
    "mif1 and heic": lambda: branded(heic(corners(320, 240)), b"mif1", b"mif1", b"heic"),
    "hevc with a still picture": lambda: branded(heic(corners(320, 240)), b"hevc", b"mif1", b"heic"),
    "another brand first": lambda: branded(heic(corners(320, 240)), b"MiHB", b"mif1", b"heic", b"miaf"),
}


def branded(data: bytes, *brands: bytes) -> bytes:
    """Replace the brands with these, the major one first."""
    size = int.from_bytes(data[:4])
    new = box(b"ftyp", brands[0] + bytes(4) + b"".join(brands[1:]))
    # iloc counts offsets from the start of the file: an empty box makes up the difference.
    return new + box(b"free", bytes(size + 64 - len(new) - 8)) + shifted(data[size:], 64)


def shifted(rest: bytes, by: int) -> bytes:
    """The boxes behind ftyp, with all offsets of iloc (of 4 bytes, as libheif writes them) increased by `by`."""
    start = rest.index(b"iloc")
    length = int.from_bytes(rest[start - 4 : start])
    whole = bytearray(rest)
    version, sizes, count = rest[start + 4], rest[start + 8], int.from_bytes(rest[start + 10 : start + 12])
    assert (version in {0, 1}, sizes >> 4, sizes & 15) == (True, 4, 4)
    base = rest[start + 9] >> 4
    position = start + 12
    for _ in range(count):
        method = int.from_bytes(rest[position + 2 : position + 4]) & 15 if version else 0
        position += (4 if version else 2) + 2 + base
        extents = int.from_bytes(rest[position : position + 2])
        position += 2
        for _ in range(extents):
            if method == 0:
                offset = int.from_bytes(rest[position : position + 4])
                whole[position : position + 4] = struct.pack(">I", offset + by)
            position += 8
    assert position <= start - 4 + length
    return bytes(whole)


@pytest.mark.parametrize("case", VALID)
def test_a_valid_heic_is_decoded(case: str) -> None:
    found = inspected(VALID[case]())
    assert found.kind.content_type == "image/heic"
    assert (found.width, found.height) in {(320, 240), (319, 241)}
    assert colours(found.preview) == colours(found.thumbnail) == ["red", "green", "blue", "white"]
    assert found.thumbnail_2x == b""


def test_a_grey_heic_is_decoded() -> None:
    found = inspected(heic(Image.linear_gradient("L")))
    with Image.open(BytesIO(found.preview)) as image:
        grey = image.convert("L")
        assert grey.getpixel((128, 8)) < 40  # type: ignore[operator]
        assert grey.getpixel((128, 248)) > 200  # type: ignore[operator]


def test_the_preview_keeps_the_transparency() -> None:
    image = corners(320, 240).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    with Image.open(BytesIO(inspected(heic(image)).preview)) as preview:
        assert preview.mode == "RGBA"
        assert preview.getpixel((160, 4))[3] < 40  # type: ignore[index]
        assert preview.getpixel((160, 236))[3] > 200  # type: ignore[index]


def test_a_preview_has_converted_colours_and_no_profile() -> None:
    """The profile swaps red and green: only a reader of the profile sees the true colours."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    swapped = bytes(profile).replace(b"rXYZ", b"xxxx").replace(b"gXYZ", b"rXYZ").replace(b"xxxx", b"gXYZ")
    found = inspected(heic(corners(1200, 1600), icc_profile=swapped))
    with Image.open(BytesIO(found.preview)) as preview:
        assert "icc_profile" not in preview.info
        red, green, _ = preview.convert("RGB").getpixel((100, 100))  # type: ignore[misc]
        assert green > red + 100
    with Image.open(BytesIO(found.thumbnail)) as small:
        assert small.info["icc_profile"] == swapped


@pytest.mark.parametrize("profile", [b"no profile", bytes(4000)])
def test_an_unreadable_colour_profile_is_ignored(profile: bytes) -> None:
    assert colours(inspected(heic(corners(320, 240), icc_profile=profile)).preview)[0] == "red"


def test_a_preview_is_limited_to_the_size_of_a_screen() -> None:
    found = inspected(heic(Image.new("RGB", (4032, 3024), RED), tile_size=512))
    with Image.open(BytesIO(found.preview)) as preview:
        assert preview.size == (PREVIEW_MAX, PREVIEW_MAX * 3 // 4)


AVIFS = {
    "mif1 and avif": (b"mif1", b"mif1", b"avif", b"miaf"),
    "mif1, and avif as the last of many": (b"mif1", b"mif1", b"miaf", b"MA1B", b"abcd", b"avif"),
}


@pytest.mark.parametrize("case", AVIFS)
def test_an_avif_is_recognized_by_its_compatible_brands(case: str) -> None:
    data = picture(64, 48, "AVIF")
    size = int.from_bytes(data[:4])
    head = AVIFS[case]
    ftyp = box(b"ftyp", head[0] + bytes(4) + b"".join(head[1:]))
    found = inspected(ftyp + shifted(data[size:], len(ftyp) - size))
    assert (found.kind.content_type, found.width, found.preview) == ("image/avif", 64, b"")


CUT = {"ftyp alone": 32, "in its description": 200, "in its pixels": -40}


@pytest.mark.parametrize("case", CUT)
def test_a_truncated_heic_is_refused_as_truncated(case: str) -> None:
    data = heic(Image.effect_noise((320, 240), 90).convert("RGB"))
    with pytest.raises(errors.ImageTruncated):
        inspected(data[: CUT[case]])


def test_a_film_without_a_still_picture_is_refused_with_that_reason() -> None:
    data = box(b"ftyp", b"hevc\0\0\0\0msf1hevc") + box(b"moov", bytes(64)) + box(b"mdat", bytes(99))
    with pytest.raises(errors.NotAnImage, match="no still picture"):
        inspected(data)


def heic_head(width: int, height: int, chroma: int = 1, bits: int = 8, *, alpha: bool = False) -> bytes:
    properties = box(b"ispe", struct.pack(">4xII", width, height))
    properties += box(b"hvcC", b"\1" + bytes(15) + bytes([0xFC | chroma, 0xF8 | bits - 8, 0xF8 | bits - 8]))
    if alpha:
        properties += box(b"auxC", b"\0\0\0\0urn:mpeg:hevc:2015:auxid:1\0")
    meta = box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", properties)))
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + meta


HEADS: dict[str, tuple[bytes, type[errors.Problem] | tuple[int, int]]] = {
    "a phone's 12 megapixels": (heic_head(4032, 3024), (110, 140)),
    "48 megapixels": (heic_head(8064, 6048), (220, 290)),
    "12 megapixels of ten bits": (heic_head(4032, 3024, bits=10), (110, 150)),
    "48 megapixels of ten bits": (heic_head(8064, 6048, bits=10), errors.ImageTooComplex),
    "48 megapixels with all colours": (heic_head(8064, 6048, 3), errors.ImageTooComplex),
    "as large as a header can say": (heic_head(2**31, 2**31), errors.ImageTooManyPixels),
    "80 megapixels": (heic_head(10_000, 8000), errors.ImageTooManyPixels),
    "an empty description": (box(b"ftyp", b"heic\0\0\0\0mif1heic") + box(b"meta", bytes(4)), errors.ImageTruncated),
    "megabytes of description": (box(b"ftyp", b"heic\0\0\0\0") + box(b"meta", bytes(5 * MIB)), errors.ImageTooComplex),
    "very many items": (
        box(b"ftyp", b"heic\0\0\0\0") + box(b"meta", bytes(4) + box(b"iinf", bytes(99_999))),
        errors.ImageTooComplex,
    ),
    "boxes within boxes": (
        box(b"ftyp", b"heic\0\0\0\0") + box(b"meta", bytes(4) + (struct.pack(">I4s", 2**31, b"iprp") * 9999)),
        errors.ImageTruncated,
    ),
}


@pytest.mark.parametrize("case", HEADS)
def test_the_memory_for_decoding_is_estimated_from_the_header(case: str) -> None:
    data, expected = HEADS[case]
    if isinstance(expected, tuple):
        assert expected[0] <= estimate.from_header(BytesIO(data), HEIC).memory / 1_000_000 <= expected[1]
    else:
        with pytest.raises(expected):
            estimate.from_header(BytesIO(data), HEIC)


LARGE: dict[str, Callable[[], bytes]] = {
    "of a phone, in tiles": lambda: heic(Image.new("RGB", (4032, 3024), RED), tile_size=512, exif=orientation(6)),
    "in one piece": lambda: heic(Image.new("RGB", (3000, 2000), RED)),
    "turned": lambda: heic(Image.new("RGB", (3000, 2000), RED), exif=orientation(6)),
    "all colours": lambda: heic(Image.new("RGB", (3000, 2000), RED), chroma=444),
    "half of the colours": lambda: heic(Image.new("RGB", (3000, 2000), RED), chroma=422),
    "alpha": lambda: heic(Image.new("RGBA", (3000, 2000), RED)),
    "ten bits": lambda: mode_of(Image.new("RGB", (2000, 1500), RED), 10),
    "ten bits with alpha": lambda: mode_of(Image.new("RGBA", (2000, 1500), RED), 10),
    "twelve bits with alpha and all colours": lambda: mode_of(Image.new("RGBA", (2000, 1500), RED), 12, chroma=444),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", LARGE)
def test_decoding_takes_no_more_memory_than_estimated(case: str) -> None:
    data = LARGE[case]()
    estimated = estimate.from_header(BytesIO(data), HEIC)
    assert estimated.memory <= MEMORY_MAX
    growth = growth_of(lambda: pixels.decode(BytesIO(data), HEIC, estimated))
    assert growth < estimated.memory + 8 * MIB, f"{growth / MIB:.0f} MiB, estimated {estimated.memory / MIB:.0f}"
    assert inspected(data).width in {4032, 3024, 3000, 2000}


def test_a_header_with_a_false_size_is_harmless() -> None:
    """The header has 64 x 64 and the pixels 3072 x 2048, or the other way round."""
    large, small = heic(Image.new("RGB", (3072, 2048), RED)), heic(Image.new("RGB", (64, 64), RED))
    for data, size, other in ((large, (3072, 2048), (64, 64)), (small, (64, 64), (6000, 4000))):
        false_header = data.replace(struct.pack(">II", *size), struct.pack(">II", *other))
        assert false_header != data
        try:
            found = inspected(false_header)
        except (errors.ImageTruncated, errors.ImageTooComplex):
            continue
        assert (found.width, found.height) in {size, other}


def test_mutated_heics_are_decoded_or_refused() -> None:
    server = None
    valid = [heic(corners(96, 64), exif=orientation(6)), heic(corners(96, 64).convert("RGBA"), tile_size=64)]
    chance = random.Random(11)
    for number in range(120):
        data = bytearray(valid[number % 2])
        for _ in range(chance.randint(1, 6)):
            position = chance.randrange(len(data) if chance.random() < 0.3 else 900)
            data[position % len(data)] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        with suppress(errors.NotAnImage, errors.ImageTruncated, errors.ImageTooManyPixels, errors.ImageTooComplex):
            inspected(bytes(data))
        server = server or decoding.number()
        assert decoding.number() == server
