"""Sizes and amounts of memory, parsed as nginx and the engine parse them."""

import pytest

from scripts.ops.fit import mebibytes
from scripts.ops.settings import size

SIZES = {
    "1": 1,
    "52428800": 52428800,
    "512k": 512 * 1024,
    "100m": 100 * 1024**2,
    "2G": 2 * 1024**3,
    "0": None,
    "1.5g": None,
}


@pytest.mark.parametrize("text", SIZES)
def test_a_size_is_parsed_like_in_nginx(text: str) -> None:
    assert size(text) == SIZES[text]


AMOUNTS = {"768m": 768, "1.5g": 1536, "512MB": 512, "805306368": 768, "1GiB": 1024, "100b": 0, "lots": None, "": None}


@pytest.mark.parametrize("text", AMOUNTS)
def test_an_amount_of_memory_is_parsed_like_in_the_engine(text: str) -> None:
    assert mebibytes(text) == AMOUNTS[text]
