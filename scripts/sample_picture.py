"""Draws docs/sample.jpg, mountains at dusk: the picture that the printed curl command uploads. Needs Pillow.

A fixed seed makes the same picture each time. The grain keeps the file at some hundred kilobytes: a chunked upload of a
few bytes would hide the bug that this project is about.
"""

import math
import random
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter

SIZE = (1600, 1067)
RIDGES = 6
SKY = ((24, 32, 74), (236, 120, 92), (255, 214, 150))
TARGET = Path(__file__).parent.parent / "docs" / "sample.jpg"

Colour = tuple[int, int, int]


def between(a: Colour, b: Colour, part: float) -> Colour:
    red, green, blue = (round(x + (y - x) * part) for x, y in zip(a, b, strict=True))
    return red, green, blue


def draw_sky(picture: Image.Image) -> None:
    draw = ImageDraw.Draw(picture)
    width, height = SIZE
    for y in range(height):
        part = min(y / (height * 0.7), 1.0) * 2
        colour = between(SKY[0], SKY[1], part) if part < 1 else between(SKY[1], SKY[2], part - 1)
        draw.line([(0, y), (width, y)], fill=colour)


def draw_sun(picture: Image.Image) -> None:
    glow = Image.new("RGB", SIZE)
    ImageDraw.Draw(glow).ellipse((960, 430, 1160, 630), fill=(255, 226, 170))
    picture.paste(ImageChops.screen(picture, glow.filter(ImageFilter.GaussianBlur(60))))
    ImageDraw.Draw(picture).ellipse((1000, 470, 1120, 590), fill=(255, 240, 205))


def ridge_line(rng: random.Random, level: float, roughness: float) -> list[tuple[float, float]]:
    waves = [(rng.uniform(0.002, 0.02) * n, rng.uniform(0, math.tau), roughness / n) for n in range(1, 8)]
    return [
        (x, level + sum(height * math.sin(x * pace + shift) for pace, shift, height in waves))
        for x in range(0, SIZE[0] + 4, 4)
    ]


def draw_ridges(picture: Image.Image, rng: random.Random) -> None:
    draw = ImageDraw.Draw(picture)
    width, height = SIZE
    for n in range(RIDGES):
        part = n / (RIDGES - 1)
        line = ridge_line(rng, height * (0.52 + 0.09 * n), 44 - 4 * n)
        draw.polygon([(0, height), *line, (width, height)], fill=between((196, 110, 112), (16, 20, 44), part))


def add_grain(picture: Image.Image, rng: random.Random) -> Image.Image:
    grain = Image.frombytes("L", SIZE, rng.randbytes(SIZE[0] * SIZE[1]))
    return Image.blend(picture, Image.merge("RGB", (grain, grain, grain)), 0.05)


def main() -> None:
    rng = random.Random(20)  # noqa: S311  # a picture, not a secret
    picture = Image.new("RGB", SIZE)
    draw_sky(picture)
    draw_sun(picture)
    draw_ridges(picture, rng)
    add_grain(picture, rng).save(TARGET, quality=90, optimize=True, progressive=True)
    print(f"{TARGET.name}: {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
