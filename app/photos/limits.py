"""The limits for decoding one picture, and the frame of its answer.

Contains only declarations, for the web process and the decoding process (decoder.py).
"""

import struct
from typing import Final

THUMBNAIL_MAX: Final = 480  # pixels of width and height: sharp on a phone's screen at half the size
THUMBNAIL_2X_MAX: Final = 2 * THUMBNAIL_MAX  # for screens with twice as many pixels
PREVIEW_MAX: Final = 2048  # pixels of width and height; for formats that browsers cannot show
REDUCED_MIN: Final = 3 * THUMBNAIL_MAX  # pixels of the longer side from which thumbnails are made
MEMORY_MAX: Final = 380 * 1024**2  # bytes that decoding one picture may take, estimated from its header
SMALL: Final = 32 * 1024**2  # bytes; pictures that need no more do not wait for large ones
# Pillow's own limit: a quarter of a gigabyte at three bytes per pixel.
PIXELS_MAX: Final = 89_478_485
# JPEG is decoded at an eighth of its size. The largest sensors of phones (16,320 x 12,240) stay below.
JPEG_PIXELS_MAX: Final = 200_000_000
FRAMES_MAX: Final = 200  # of an animation; further frames are not decoded, because each takes time whatever its size

WAIT_MAX: Final = 20  # seconds that a picture waits for a decoder; only large ones wait long
WALL_MAX: Final = 25  # seconds to decode one on a busy machine; 108 megapixels take one second on an idle core
FRAMES_CPU: Final = 5  # seconds of CPU after which no further frames of an animation are decoded
CPU_MAX: Final = 15  # seconds of CPU to decode one
# Seconds from the start of a request until its photos are committed: longer than decoding one picture, and shorter than
# the server's --timeout, so that an upload that was answered 504 is not stored afterwards (tests/test_limits.py).
UPLOAD_SECONDS: Final = 50

FRAME: Final = struct.Struct(">II")  # lengths of the two parts of an answer: JSON, and renditions
