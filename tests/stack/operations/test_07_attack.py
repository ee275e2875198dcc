"""tests/stack/attack.py: a short run with pictures that are quickly decoded or refused."""

import pytest

from tests.app import hostile
from tests.stack.attack import Attack
from tests.stack.operating import PATIENCE
from tests.stack.stack import Stack

pytestmark = pytest.mark.timeout(PATIENCE)
FILES = {
    "gif of two frames": hostile.gif(6600),
    "jpeg of exif segments": hostile.with_segments(0xE1, b"Exif\0\0" + bytes(32), 50_000),
    "jpeg of 65,000 tags": hostile.jpeg_with_exif(hostile.directory(65_000, 4)),
}


def test_a_short_attack_finds_no_fault(stack: Stack) -> None:
    record = Attack(stack, 10, FILES).run()
    assert record.faults == []
    assert {what for what, _ in record.counts} >= {*FILES, "put", "form", "list", "page", "download", "delete"}


def test_a_photo_missing_after_a_201_is_a_fault(stack: Stack) -> None:
    attack = Attack(stack, 3, FILES)
    attack.record.store("missing.jpg", b"never sent")
    record = attack.run()
    assert [fault for fault in record.faults if not fault.startswith("missing.jpg: answered 201")] == []
    assert len(record.faults) == 1
