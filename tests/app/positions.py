"""Pictures with a position in every kind of block: as the word HOME, or as the numbers of LATITUDE."""

import struct
import zlib
from io import BytesIO
from typing import Any

import pillow_heif
from PIL import Image

from tests.app.pictures import encoded

pillow_heif.register_heif_opener()
ORIENTATION = 6
LATITUDE = (51, 28, 38)  # as three rationals
MARK = b"HOME"  # in every text
XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    'xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" xmlns:dji="http://www.dji.com/drone-dji/1.0/" '
    'xmlns:ext="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" exif:GPSLatitude="HOME51,28.6N" xmp:Rating="4" '
    "photoshop:City='HOME \u00fcber' dji:GpsLongtitude=\"HOME\">"
    '<ext:LocationShown><rdf:Bag><rdf:li rdf:parseType="Resource"><ext:Sublocation>HOME</ext:Sublocation></rdf:li>'
    "</rdf:Bag></ext:LocationShown><exif:GPSAltitude>HOME</exif:GPSAltitude><xmp:Label>kept</xmp:Label>"
    '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()


def tiff(order: str = "<", orientation: int = ORIENTATION, maker: bytes = b"HOME in the maker's notes") -> bytes:
    """EXIF data as cameras write them: orientation, a maker's note, and a GPS directory with values out of line."""
    note, gps = 100, 200
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I", 8)

    def short(tag: int, value: int) -> bytes:
        return struct.pack(order + "HHIHH", tag, 3, 1, value, 0)

    def long(tag: int, value: int, kind: int = 4, count: int = 1) -> bytes:
        return struct.pack(order + "HHII", tag, kind, count, value)

    first = struct.pack(order + "H", 3) + short(0x0112, orientation) + long(0x8769, 60) + long(0x8825, gps) + bytes(4)
    sub = struct.pack(order + "H", 1) + long(0x927C, note, 7, len(maker)) + bytes(4)
    entries = struct.pack(order + "HHI4s", 1, 2, 2, b"N\0") + long(2, 300, 5, 3) + long(0x1B, 330, 7, 8)
    directory = struct.pack(order + "H", 3) + entries + bytes(4)
    values = struct.pack(order + "6I", *(part for number in LATITUDE for part in (number, 1)))
    data = bytearray(400)
    for start, part in ((0, head), (8, first), (60, sub), (note, maker), (gps, directory), (300, values), (330, MARK)):
        data[start : start + len(part)] = part
    return bytes(data)


def traces(data: bytes) -> list[str]:
    """Return what is left of the position in these bytes."""
    found = [word for word in (MARK, MARK.hex().encode(), "HOME".encode("utf-16-le")) if word in data]
    for order in "<>":
        values = struct.pack(order + "6I", *(part for number in LATITUDE for part in (number, 1)))
        found += [values] if values in data else []
    return [repr(word) for word in found]


def iptc() -> bytes:
    def field(number: int, text: bytes) -> bytes:
        return struct.pack(">BBBH", 0x1C, 2, number, len(text)) + text

    return field(90, b"HOME") + field(120, b"a caption") + field(101, b"HOME land")


def resource(number: int, data: bytes) -> bytes:
    return b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + bytes(len(data) % 2)


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def jpeg_with(*segments: bytes, **options: Any) -> bytes:
    whole = encoded(image(), "JPEG", quality=90, **options)
    return whole[:2] + b"".join(segments) + whole[2:]


def with_position(jpeg: bytes) -> bytes:
    return jpeg[:2] + segment(0xE1, b"Exif\0\0" + tiff()) + jpeg[2:]


def image(mode: str = "RGB") -> Image.Image:
    grey = Image.linear_gradient("L").resize((64, 48))
    return Image.merge("RGB", (grey, grey.rotate(180), grey)).convert(mode)


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_with(*chunks: tuple[bytes, bytes], is_behind: bool = False) -> bytes:
    whole = encoded(image(), "PNG")
    at = len(whole) - 12 if is_behind else 33
    return whole[:at] + b"".join(png_chunk(*chunk) for chunk in chunks) + whole[at:]


def raw_profile(data: bytes) -> bytes:
    """Encode EXIF data as ImageMagick writes it into a PNG."""
    return zlib.compress(b"\nexif\n%8d\n%s\n" % (len(data), data.hex().encode()))


def webp_with(*chunks: tuple[bytes, bytes]) -> bytes:
    whole = encoded(image(), "WEBP", lossless=True, exif=b"Exif\0\0" + tiff(), xmp=XMP)
    whole += b"".join(name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks)
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]


def gif_with(*extensions: bytes) -> bytes:
    whole = encoded(image("P"), "GIF")
    start = 13 + (3 << (whole[10] & 7) + 1)
    return whole[:start] + b"".join(extensions) + whole[start:]


def gif_application(name: bytes, data: bytes) -> bytes:
    return b"!\xff\x0b" + name + bytes([len(data)]) + data + b"\0"


GIF_XMP = b"!\xff\x0bXMP DataXMP" + XMP + b"\x01" + bytes(range(255, -1, -1)) + b"\0"


def mpo() -> bytes:
    """Two pictures in one file, each with its EXIF data."""
    first, buffer = Image.open(BytesIO(jpeg_with(segment(0xE1, b"Exif\0\0" + tiff())))), BytesIO()
    second = Image.open(BytesIO(jpeg_with(segment(0xE1, b"Exif\0\0" + tiff(">", 1)))))
    first.save(buffer, "MPO", save_all=True, append_images=[second], exif=b"Exif\0\0" + tiff())
    return buffer.getvalue() + b"\0\0" + jpeg_with(segment(0xE1, b"Exif\0\0" + tiff(">", 1)))


def pictures() -> dict[str, tuple[str, bytes]]:
    """Name of the case: kind, file."""
    exif, xmp = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
    extension = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32
    cut = 300
    parts = [struct.pack(">II", len(XMP), at) + XMP[at : at + cut] for at in range(0, len(XMP), cut)]
    photoshop = b"Photoshop 3.0\0" + b"".join(
        resource(*part) for part in ((0x0404, iptc()), (0x0422, tiff()), (0x0424, XMP), (0x03ED, bytes(16)))
    )
    heic = encoded(image(), "HEIF", exif=b"Exif\0\0" + tiff(">"), xmp=XMP, quality=90)
    avif = encoded(image(), "AVIF", exif=tiff(">"), xmp=XMP, quality=90)
    return {
        "jpeg, little-endian": ("JPEG", jpeg_with(segment(0xE1, exif + tiff()))),
        "jpeg, big-endian": ("JPEG", jpeg_with(segment(0xE1, exif + tiff(">")))),
        "jpeg, progressive": ("JPEG", jpeg_with(segment(0xE1, exif + tiff()), progressive=True)),
        "jpeg, two exif segments": ("JPEG", jpeg_with(*[segment(0xE1, exif + tiff(o)) for o in "<>"])),
        "jpeg, exif cut in two": (
            "JPEG",
            jpeg_with(segment(0xE1, exif + tiff()[:250]), segment(0xE1, exif + tiff()[250:])),
        ),
        "jpeg, exif of another form": ("JPEG", jpeg_with(segment(0xE1, exif + b"II+\0" + MARK * 9))),
        "jpeg, exif whose first directory is nowhere": (
            "JPEG",
            jpeg_with(segment(0xE1, exif + b"II*\0\xff\xff\xff\0" + MARK * 9)),
        ),
        "jpeg, xmp": ("JPEG", jpeg_with(segment(0xE1, xmp + XMP))),
        "jpeg, xmp that is broken": ("JPEG", jpeg_with(segment(0xE1, xmp + XMP[:-200]))),
        "jpeg, xmp in utf-16": ("JPEG", jpeg_with(segment(0xE1, xmp + XMP.decode().encode("utf-16")))),
        "jpeg, xmp extended": ("JPEG", jpeg_with(*[segment(0xE1, extension + part) for part in reversed(parts)])),
        "jpeg, photoshop": ("JPEG", jpeg_with(segment(0xED, photoshop))),
        "jpeg, photoshop in two segments": (
            "JPEG",
            jpeg_with(segment(0xED, photoshop[:40]), segment(0xED, b"Photoshop 3.0\0" + photoshop[40:])),
        ),
        "jpeg, segments of a drone": ("JPEG", jpeg_with(segment(0xE4, MARK), segment(0xE6, b"GoPro\0" + MARK))),
        "jpeg, content credentials": ("JPEG", jpeg_with(segment(0xEB, b"JP\0\1" + bytes(8) + b"jumb" + MARK))),
        "jpeg, a video behind it": ("JPEG", jpeg_with() + b"\0\0\0\x18ftypmp42" + bytes(12) + b"\xa9xyz" + MARK),
        "jpeg, several pictures": ("MPO", mpo()),
        "png, exif": ("PNG", png_with((b"eXIf", tiff(">")))),
        "png, exif behind the pixels": ("PNG", png_with((b"eXIf", tiff()), is_behind=True)),
        "png, xmp": ("PNG", png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP))),
        "png, xmp compressed": ("PNG", png_with((b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)))),
        "png, raw profile": ("PNG", png_with((b"zTXt", b"Raw profile type exif\0\0" + raw_profile(tiff())))),
        "png, texts of names": ("PNG", png_with((b"tEXt", b"exif:GPSLatitude\0" + MARK), (b"tEXt", b"Author\0ada"))),
        "png, a chunk of unknown name": ("PNG", png_with((b"caBX", MARK * 3))),
        "png, a file behind it": ("PNG", png_with() + b"Exif\0\0" + MARK),
        "webp": ("WEBP", webp_with((b"C2PA", MARK))),
        "webp, a file behind it": ("WEBP", webp_with() + b"Exif\0\0" + MARK),
        "gif, xmp": ("GIF", gif_with(GIF_XMP)),
        "gif, xmp without its end": ("GIF", gif_with(gif_application(b"XMP DataXMP", XMP[:50] + MARK))),
        "gif, an application's": ("GIF", gif_with(gif_application(b"MGKIPTC0000", MARK * 5))),
        "gif, a file behind it": ("GIF", gif_with() + b"Exif\0\0" + MARK),
        "avif": ("AVIF", avif),
        "heic": ("HEIC", heic),
        "heic, a video within": ("HEIC", heic + struct.pack(">I4s", 24, b"mpvd") + b"0" * 12 + MARK),
        "avif, a box behind it": ("AVIF", avif + struct.pack(">I4s", 24, b"uuid") + b"0" * 12 + MARK),
    }
