"""A shared photo has no position; its pixels, its orientation and all other metadata stay unchanged."""

import random
import struct
from io import BytesIO

import pytest
from PIL import Image

from photos import metadata, patches, position
from photos.errors import Problem
from photos.kinds import KINDS
from tests.app import hostile, positions
from tests.app.pictures import animation, picture

PICTURES = positions.pictures()
TURNED = {  # those whose orientation Pillow reads
    *(f"jpeg, {case}" for case in ("little-endian", "big-endian", "progressive", "two exif segments")),
    *("jpeg, exif cut in two", "jpeg, several pictures", "png, exif", "png, exif behind the pixels"),
    *("png, raw profile", "webp", "webp, a file behind it", "avif", "avif, a box behind it"),
}


def shared(data: bytes, kind: str) -> bytes:
    """Return the file that other users download; the patches pass through a frame."""
    file = BytesIO(data)
    found = patches.unpack(patches.pack(position.find(file, kind)), len(data))
    without = b"".join(patches.patched(file, found))
    assert len(without) == len(data)
    return without


def frames(data: bytes) -> list[bytes]:
    with Image.open(BytesIO(data)) as image:
        found = []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            found.append(image.convert("RGBA").tobytes())
        return found


def is_valid(data: bytes, pixels: list[bytes]) -> bool:
    try:
        return frames(data)[:1] == pixels
    except (OSError, SyntaxError, ValueError):
        return False


def check(case: str) -> tuple[bytes, bytes]:
    kind, data = PICTURES[case]
    assert positions.traces(data) or "compressed" in case or "raw" in case, (
        "the picture has to tell, or this tests nothing"
    )
    without = shared(data, "JPEG" if kind == "MPO" else kind)
    assert without != data
    assert positions.traces(without) == []
    assert frames(without) == frames(data)
    assert shared(without, "JPEG" if kind == "MPO" else kind) == without
    return data, without


@pytest.mark.filterwarnings("ignore")  # Pillow warns about metadata that were damaged before
@pytest.mark.parametrize("case", PICTURES)
def test_a_shared_photo_has_no_position_and_the_same_pixels(case: str) -> None:
    without = check(case)[1]
    with Image.open(BytesIO(without)) as after:
        assert not after.getexif().get_ifd(0x8825)
        assert after.getexif().get(0x0112, 1) == (positions.ORIENTATION if case in TURNED else 1)


@pytest.mark.parametrize("case", ["jpeg, xmp", "png, xmp", "webp", "avif", "heic", "gif, xmp"])
def test_other_fields_of_xmp_are_kept(case: str) -> None:
    _, without = check(case)
    assert b'xmp:Rating="4"' in without
    assert b"<xmp:Label>kept</xmp:Label>" in without


def test_other_fields_of_iptc_are_kept() -> None:
    assert b"a caption" in check("jpeg, photoshop")[1]


def test_png_texts_without_a_position_are_kept() -> None:
    assert b"Author\0ada" in check("png, texts of names")[1]


def test_every_accepted_kind_of_picture_has_a_position_finder() -> None:
    assert {kind.pillow for kind in KINDS} <= set(position.FINDERS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_a_picture_without_metadata_needs_no_patch(kind: str) -> None:
    for data in (picture(kind=kind), picture(kind=kind, mode="L"), *([animation(kind)] if kind != "JPEG" else [])):
        assert position.find(BytesIO(data), kind) == []


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "AVIF"])
def test_padding_after_a_picture_is_kept(kind: str) -> None:
    for padding in (bytes(5000), b"\1" * 8, random.Random(kind).randbytes(3_000_000)):
        assert position.find(BytesIO(picture(kind=kind) + padding), kind) == []


def test_camera_exif_without_a_position_needs_no_patch() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x9003] = 6, "Camera", "2024:01:01 00:00:00"
    assert position.find(BytesIO(picture(exif=exif)), "JPEG") == []


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", "<>")
def test_the_orientation_is_kept_even_if_exif_is_damaged(order: str, orientation: int) -> None:
    tiff = positions.tiff(order, orientation)
    endless = bytearray(tiff)
    endless[200:202] = b"\xff\xff"  # entries of the GPS directory
    for data in (tiff, bytes(endless), b"Exif\0\0" + tiff):
        without = metadata.exif(data)
        assert positions.traces(without) == []
        exif = Image.Exif()
        exif.load(without)
        assert exif.get(0x0112, 1) == orientation


@pytest.mark.parametrize(
    "exif",
    [
        hostile.directory(65_000, 4),
        hostile.directory(5000, 60_000),
        positions.tiff()[:8] + b"\1\0" + struct.pack("<HHII", 0x8769, 4, 1, 8) + struct.pack("<I", 8),  # in a cycle
        b"II*\0\x08\0\0\0\x08\0" + struct.pack("<HHII", 0x02BC, 7, 60_000, 8) * 8 + bytes(60_000),
        b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x8649, 7, 60_000, 26) + bytes(4) + b"8BIM\4\x22\0\0" * 7000,
    ],
    ids=["65,000 tags", "the same bytes", "a circle", "eight packets", "resources in resources"],
)
def test_hostile_exif_keeps_its_length(exif: bytes) -> None:
    assert len(metadata.exif(exif)) == len(exif)


@pytest.mark.parametrize(
    "packet",
    [
        b"<a>" * 100_000 + b"</a>" * 100_000,
        b"<r>" + b"<a/>" * 200_000 + b"</r>",
        b'<!DOCTYPE r [<!ENTITY a "HOME"><!ENTITY b "&a;&a;&a;">]><r>&b;</r>',
        b"<r xmlns:x='x' " + b"".join(b'a%d="GPS" ' % number for number in range(50_000)) + b"gps='HOME'/>",
        b"<r><x:gps><x:gps>HOME</x:gps>HOME</x:gps></r>",
        b"<r><City><![CDATA[</City>HOME]]></City></r>",
        b"<r title=\" City='kept' \" City = 'HOME'/>",
        b"",
        bytes(100),
    ],
    ids=["deep", "long", "entities", "attributes", "nested", "cdata", "in a value", "empty", "zeros"],
)
def test_hostile_xmp_loses_its_position(packet: bytes) -> None:
    without = metadata.xmp(packet)
    assert (len(without), positions.traces(without)) == (len(packet), [])
    assert (b"kept" in without) is (b"kept" in packet)


@pytest.mark.parametrize("name", ["photoshop:City", "exif:GPSLatitude", "geo:lat", "drone-dji:RelativeAltitude"])
def test_field_names_of_a_position_are_recognized(name: str) -> None:
    assert metadata.is_place(name)


@pytest.mark.parametrize("name", ["crs:Opacity", "exif:Flash", "xmp:CreatorTool", "GPano:FullPanoWidthPixels"])
def test_other_field_names_are_not_taken_for_a_position(name: str) -> None:
    assert not metadata.is_place(name)


@pytest.mark.parametrize("case", PICTURES)
def test_a_damaged_picture_raises_only_problems(case: str) -> None:
    kind, data = PICTURES[case]
    kind = "JPEG" if kind == "MPO" else kind
    dice = random.Random(case)
    for _ in range(150):
        damaged = bytearray(data[: dice.choice([len(data), dice.randrange(16, len(data))])])
        for _ in range(dice.randrange(1, 8)):
            damaged[dice.randrange(len(damaged))] = dice.choice([0, 1, 255, dice.randrange(256)])
        try:
            shared(bytes(damaged), kind)
        except Problem:
            continue


@pytest.mark.filterwarnings("ignore")  # Pillow warns about the damage
@pytest.mark.parametrize("case", PICTURES)
def test_damaged_metadata_never_change_a_pixel(case: str) -> None:
    """The damage is only in bytes that are patched anyway, so the picture stays valid."""
    kind, data = PICTURES[case]
    kind = "JPEG" if kind == "MPO" else kind
    dice = random.Random(case)
    spots = [patch for patch in position.find(BytesIO(data), kind) if kind != "PNG"]
    pixels = frames(data)[:1]
    for _ in range(30 if spots else 0):
        damaged = bytearray(data)
        spot = dice.choice(spots)
        damaged[spot.offset + dice.randrange(spot.length)] = dice.randrange(1, 256)
        if is_valid(bytes(damaged), pixels):
            assert frames(shared(bytes(damaged), kind))[:1] == pixels


@pytest.mark.parametrize(
    "packed", [b"\0", bytes(8) + b"\0\0\0\1" + b"\0", bytes(7) + b"\x09\0\0\0\2\1x", bytes(7) + b"\x0b\0\0\0\0\1x"]
)
def test_patches_outside_the_file_are_refused(packed: bytes) -> None:
    with pytest.raises(ValueError, match="patch"):
        patches.unpack(packed, 10)
