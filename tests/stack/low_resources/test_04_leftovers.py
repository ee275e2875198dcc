"""Files that a crash has left are removed automatically."""

import pytest

from tests.stack.faults import RECOVERS_WITHIN, SLOW, checked_uploads, is_reached, killer_within
from tests.stack.pictures import Picture, sized
from tests.stack.stack import Stack
from tests.wire.polling import poll

pytestmark = pytest.mark.timeout(SLOW)


def test_an_upload_removes_the_files_left_by_a_killed_upload(small_stack: Stack, large: Picture) -> None:
    """Without a manual sweep: SWEEP_AGE and SWEEP_INTERVAL say when."""
    web = small_stack.container("web")
    with checked_uploads(small_stack) as uploads:
        with killer_within(web, "new", "incoming"):
            lost = uploads.whole("buffered", "length", large)
        assert lost.status != 201
        assert half_received(small_stack), "web was not killed in the middle of the upload"
        small_stack.wait_until_restarted("web", web, RECOVERS_WITHIN)
        poll(lambda: is_reached(small_stack), "nginx reaches web again", RECOVERS_WITHIN)

        def is_swept() -> bool:
            uploads.stored(picture=sized(64 * 1024))
            return not half_received(small_stack)

        poll(is_swept, "an upload has swept", RECOVERS_WITHIN)


def half_received(stack: Stack) -> list[str]:
    return [name for name in stack.probe("files") if name.startswith("incoming/")]
