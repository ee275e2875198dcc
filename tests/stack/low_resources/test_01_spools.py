"""A full spool of nginx or of web."""

import pytest

from tests.stack.faults import RECOVERS_WITHIN, SLOW, Upload, checked_uploads
from tests.stack.operating import attempt
from tests.stack.pictures import Picture
from tests.stack.stack import SPOOLS, Stack
from tests.wire.polling import poll

pytestmark = pytest.mark.timeout(SLOW)

ROOM = 24  # megabytes of each spool, see volumes.yaml
MOST_OF_IT = 9 * 16  # pieces of 64 KB: two such halves leave room for one more photo only

# Name -> the service with the spool, and the route of the uploads that fill it.
FULL = {
    "nginx's": ("nginx", "buffered"),
    "web's, through nginx": ("web", "streamed"),
    "web's": ("web", "direct"),
}


def used(stack: Stack, service: str) -> int:
    """Megabytes in use, by deleted but open files too."""
    size = stack.exec(service, "df", "--block-size=1M", "--output=used", SPOOLS[service])
    return int(size.split()[-1])


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("spool", FULL)
def test_an_upload_that_finds_a_full_spool_is_a_507(
    small_stack: Stack, large: Picture, spool: str, framing: str
) -> None:
    """A smaller upload and the earlier ones succeed; afterwards the spool is free again."""
    service, route = FULL[spool]
    with checked_uploads(small_stack) as uploads:
        halves = [uploads.begin(route, framing, large, MOST_OF_IT) for _ in range(2)]
        poll(lambda: used(small_stack, service) >= 16, "the first two fill most of the spool", RECOVERS_WITHIN)
        refused = uploads.whole(route, framing, large)
        check_spool_full(refused)
        poll(lambda: used(small_stack, service) < ROOM - 5, "the refused upload has freed its space", RECOVERS_WITHIN)
        uploads.stored(route, framing)
        # There is no room for the first two: one of them continues after the other has disconnected.
        halves[0].disconnect()
        poll(lambda: used(small_stack, service) < 16, "the abandoned upload has freed its space", RECOVERS_WITHIN)
        halves[1].finish()
        assert halves[1].status == 201, str(halves[1])
        uploads.delete(halves[1])
        uploads.delete(uploads.stored(route, framing, large))


def check_spool_full(upload: Upload) -> None:
    """The same error from nginx or web."""
    assert upload.answer, str(upload)
    assert upload.status == 507, str(upload)
    assert upload.answer.json()["error"] == "spool-full"


def test_doctor_reports_for_how_many_uploads_a_spool_has_room(small_stack: Stack) -> None:
    output = attempt(small_stack, "doctor.sh").stdout
    for name in ("NGINX_SPOOL", "WEB_SPOOL"):
        line = next(line for line in output.splitlines() if f"{name} (" in line)
        assert "PROBLEM" in line
        assert f"has {ROOM} MiB free: room for 1 upload of UPLOAD_MAX=16m at a time, the next one gets 507" in line
