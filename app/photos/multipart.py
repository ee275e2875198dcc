"""Files of a multipart form, written by the same code as raw bodies: straight to `incoming`, hashed on the way.

Django's own handlers keep small files in memory and copy large ones a second time. One handler for all sizes means one
path to test.
"""

from collections.abc import Callable
from typing import cast

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, HttpResponseBase

from photos import deadline, receive, storage
from photos.errors import BodyIncomplete, NoFile


class IncomingFile(UploadedFile):  # type: ignore[type-arg]  # generic in the stubs only
    """What `request.FILES` holds. Django closes it when the request ends, which discards what was not kept."""

    def __init__(self, incoming: storage.Incoming, name: str | None, content_type: str) -> None:
        super().__init__(incoming.file, name, content_type, incoming.size)
        self.incoming = incoming

    def close(self) -> None:
        self.incoming.close()


class IncomingFileHandler(FileUploadHandler):
    chunk_size = storage.CHUNK
    incoming: storage.Incoming

    def new_file(self, *args: object, **kwargs: object) -> None:
        super().new_file(*args, **kwargs)  # type: ignore[arg-type]  # handed through as they came
        self.incoming = storage.Incoming()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self.incoming.write(raw_data)

    def file_complete(self, file_size: int) -> IncomingFile:
        incoming = self.incoming
        del self.incoming
        return IncomingFile(incoming, self.file_name, self.content_type or "")

    def discard_unfinished(self) -> None:
        if hasattr(self, "incoming"):
            self.incoming.close()

    def upload_interrupted(self) -> None:
        """The body ended inside a file. Django would go on with the files before it, as if that one never was."""
        self.discard_unfinished()
        raise BodyIncomplete("The body ended in the middle of a file. Nothing was stored; send it again.")


class DiscardUnfinished:
    """Middleware: a file whose form turned out to be broken goes now, not when its memory is reclaimed.

    Django closes the files that were complete; the one it was at, it forgets.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        for handler in request.upload_handlers:
            if isinstance(handler, IncomingFileHandler):
                handler.discard_unfinished()
        return response


def files(request: HttpRequest) -> list[tuple[str, storage.Incoming]]:
    """The files of the form field `file`, as (file name, content).

    Raises EmptyBody or NoFile; and, as the form is parsed here at the latest, what the handler above raises.
    """
    found = cast("list[IncomingFile]", request.FILES.getlist("file"))
    deadline.body_has_come(request)
    if not found:
        receive.refuse_lost(request)
        raise NoFile("The form has no file. Put one or several into the field `file`.")
    return [(file.name or "", file.incoming) for file in found]
