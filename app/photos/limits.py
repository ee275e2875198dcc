"""The numbers that bound what decoding one picture may take; and the frame in which its answer comes.

Declares, and does nothing: the web process and the decoding process (decoder.py) both read it.
"""

import struct
from typing import Final

THUMBNAIL_MAX: Final = 480  # pixels, both ways: sharp on a phone's screen at half the size
THUMBNAIL_2X_MAX: Final = 2 * THUMBNAIL_MAX  # for screens with twice as many pixels
PREVIEW_MAX: Final = 2048  # pixels, both ways: what a browser shows of a picture that it cannot show itself
REDUCED_MIN: Final = 3 * THUMBNAIL_MAX  # pixels of the longer side that thumbnails are made from
MEMORY_MAX: Final = 380 * 1024**2  # bytes that decoding one picture may take, as reckoned from its header
SMALL: Final = 32 * 1024**2  # bytes; pictures that take no more need not wait for large ones
# Pillow's own idea of a bomb: a quarter of a gigabyte at three bytes a pixel.
PIXELS_MAX: Final = 89_478_485
# JPEG is decoded at an eighth of its size. The largest sensors of phones (16,320 x 12,240) stay below.
JPEG_PIXELS_MAX: Final = 200_000_000
FRAMES_MAX: Final = 200  # of an animation; the others stay unseen, for each costs time whatever its size

WAIT_MAX: Final = 20  # seconds until a picture's turn to be decoded; for large ones, that is
WALL_MAX: Final = 25  # seconds that one may take on a busy machine; 108 megapixels take one on an idle core
FRAMES_CPU: Final = 5  # seconds of CPU after which an animation's further frames stay unseen
CPU_MAX: Final = 15  # seconds of CPU that one may take
# Seconds from a request's start until its photos are committed: above what decoding one takes, and below the server's
# --timeout, so that what was answered 504 is not stored afterwards (tests/test_limits.py).
UPLOAD_SECONDS: Final = 50

FRAME: Final = struct.Struct(">II")  # lengths of an answer's two parts: JSON, and the renditions
