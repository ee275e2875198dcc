"""What can be wrong with an upload, each with the HTTP status and the stable short name that clients see.

The text of an exception is the `detail` of the answer: a sentence for the person at the other end that says what to
do. Raised anywhere below the views; turned into an answer at one place, problems.py.
"""


class Problem(Exception):
    """Base class; never raised itself."""

    status = 500
    code = "server-error"
    retry_after: int | None = None  # seconds, for what may pass by itself

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)} if self.retry_after else {}


class BadRequest(Problem):
    status = 400
    code = "bad-request"


class BadName(Problem):
    status = 400
    code = "bad-name"


class EmptyBody(Problem):
    status = 400
    code = "empty-body"


class BodyIncomplete(Problem):
    status = 400
    code = "body-incomplete"


class NoFile(Problem):
    status = 400
    code = "no-file"


class NotAnImage(Problem):
    status = 400
    code = "not-an-image"


class ImageTruncated(Problem):
    status = 400
    code = "image-truncated"


class ImageTooManyPixels(Problem):
    status = 400
    code = "image-too-many-pixels"


class ImageTooComplex(Problem):
    status = 400
    code = "image-too-complex"


class LoginNeeded(Problem):
    status = 403  # on a page; 401 would make browsers ask for a name and a password themselves
    code = "login-needed"


class NotOwner(Problem):
    status = 403
    code = "not-owner"


class NameTaken(Problem):
    status = 409
    code = "name-taken"


class PreconditionFailed(Problem):
    status = 412
    code = "precondition-failed"


class TooLarge(Problem):
    status = 413
    code = "too-large"


class QuotaExceeded(Problem):
    status = 413  # and not 507, which passes by itself
    code = "quota-exceeded"


class WrongMediaType(Problem):
    status = 415
    code = "unsupported-media-type"


class TooManyLogins(Problem):
    status = 429
    code = "too-many-logins"

    def __init__(self, text: str, wait: int) -> None:
        super().__init__(text)
        self.retry_after = wait  # seconds


class DatabaseUnavailable(Problem):
    status = 503
    code = "database-unavailable"
    retry_after = 5


class DecoderBusy(Problem):
    status = 503
    code = "decoder-busy"
    retry_after = 10


class OutOfTime(Problem):
    status = 503
    code = "out-of-time"
    retry_after = 30


class StorageUnavailable(Problem):
    status = 503
    code = "storage-unavailable"
    retry_after = 60  # somebody has to mend it


class DiskFull(Problem):
    status = 507
    code = "disk-full"
    retry_after = 60
