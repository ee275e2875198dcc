"""The problems of requests, each with the HTTP status and the stable short name that clients see.

A problem has two texts. The text of the exception is for administrators and for authors of clients: it may name
settings, headers and commands; it is in the log and in the API's responses. `for_visitors` is for visitors of the page:
it says in everyday words what happened, whether anything was stored, and what to do. If the first text suits visitors,
it serves as both. Problems are raised anywhere below the views. One module, problems.py, turns them into responses and
chooses the text for the client.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class FileOfForm:
    """The file of a form that a problem is about."""

    name: str
    number: int  # counts from 1
    count: int  # of all files in the form


class Problem(Exception):
    """Base class, and itself the problem without a more specific class."""

    status = 500
    code = "internal-error"
    retry_after: int | None = None  # seconds, for problems that may pass on their own
    visitor_text = ""  # for visitors, of all problems of a class; empty: the exception's text
    file: FileOfForm | None = None

    def __init__(self, text: str, *, visitor_text: str = "") -> None:
        super().__init__(text)
        self.visitor_text = visitor_text or self.visitor_text

    def __str__(self) -> str:
        text = super().__str__()
        if self.file and self.file.count > 1:
            return f"File {self.file.number} of {self.file.count} ({self.file.name}): {text}"
        return text

    @property
    def for_visitors(self) -> str:
        return self.visitor_text or super().__str__()

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)} if self.retry_after else {}


class BadRequest(Problem):
    status = 400
    code = "bad-request"
    visitor_text = (
        "The server could not read what your browser sent. Nothing was stored or changed. Go back, reload the page and "
        "try again."
    )


class BadName(Problem):
    status = 400
    code = "bad-name"
    visitor_text = "This name cannot be used. Nothing was stored. Choose another name, without slashes."


class EmptyBody(Problem):
    status = 400
    code = "empty-body"


class BodyIncomplete(Problem):
    status = 400
    code = "body-incomplete"
    visitor_text = "The upload was incomplete. Nothing was stored. Send it again."


class NoFile(Problem):
    status = 400
    code = "no-file"
    visitor_text = "No file was sent. Nothing was stored. Choose one or more photos and send them."


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
    visitor_text = (
        "The server would need too much time or memory to open this picture. Nothing was stored. Save it again with a "
        "photo program, smaller if possible, and send the new file."
    )


def image_has_too_much_data() -> ImageTooComplex:
    """Return the problem for a picture that is larger than its pixels explain, whichever step finds it."""
    return ImageTooComplex("This picture contains far more data than its pixels need. Save it again.")


class LoginNeeded(Problem):
    status = 403  # on a page; 401 would make browsers show their own login dialog
    code = "login-needed"
    visitor_text = (
        "You are not logged in, or your login has ended. Nothing was stored or changed. Log in and send it again."
    )


class NotLoggedIn(LoginNeeded):
    status = 401  # in the API


class WrongToken(Problem):
    status = 401
    code = "bad-token"
    visitor_text = LoginNeeded.visitor_text


class Forbidden(Problem):
    status = 403
    code = "forbidden"
    visitor_text = "You are not allowed to do this. Nothing was stored or changed."


class CsrfFailed(Problem):
    status = 403
    code = "csrf"
    visitor_text = (
        "This page is out of date: it was open for a long time, or you have logged in or out in another window. "
        "Nothing was stored or changed. Reload the page and try again."
    )


class NotFound(Problem):
    status = 404
    code = "not-found"
    visitor_text = "There is nothing at this address. Check its spelling. The photo may also have been deleted."


class MethodNotAllowed(Problem):
    status = 405
    code = "method-not-allowed"
    visitor_text = (
        "This address accepts only its own form. Nothing was stored or changed. Go to the gallery and try again there."
    )


class WrongLogin(Problem):
    status = 401
    code = "wrong-login"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Token"}  # RFC 9110, section 11.6.1


class NotOwner(Problem):
    status = 403
    code = "not-owner"
    visitor_text = "This photo belongs to another user. Nothing was stored or changed."


class NameTaken(Problem):
    status = 409
    code = "name-taken"


class PreconditionFailed(Problem):
    status = 412
    code = "precondition-failed"
    visitor_text = "The photo has changed in the meantime. Nothing was stored or changed. Reload the page, then decide."


class TooLarge(Problem):
    status = 413
    code = "body-too-large"


class QuotaExceeded(Problem):
    status = 413  # not 507, which may pass on its own
    code = "quota-exceeded"


class WrongMediaType(Problem):
    status = 415
    code = "unsupported-media-type"
    visitor_text = "The server does not accept this kind of data. Nothing was stored. Reload the page and use its form."


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
    visitor_text = "The server is too busy. Nothing was stored. Try again in a moment."
    retry_after = 10


class OutOfTime(Problem):
    status = 503
    code = "out-of-time"
    retry_after = 30


class StorageUnavailable(Problem):
    status = 503
    code = "storage-unavailable"
    retry_after = 60  # an administrator has to fix it


class DiskFull(Problem):
    status = 507
    code = "disk-full"
    retry_after = 60
