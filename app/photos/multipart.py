"""Writes the files of a multipart form by the same code as raw bodies: directly to `incoming`, hashed while written.

Django lets an upload handler parse the whole form; this one does (formparts.py), for forms of any size. So each part
with a filename becomes a file, whatever its field and file are called, and no part is dropped. All other parts are
fields with a little text.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import wraps
from typing import IO, Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest, HttpResponseBase, QueryDict
from django.utils.datastructures import MultiValueDict

from photos import deadline, invisible, receive, storage
from photos.errors import BadRequest, NoFile
from photos.formparts import Part, Reader

_FOR_FILES = re.compile(r"files?[0-9\[\]]*", re.IGNORECASE)  # names of fields for files
_TYPES_OF_FILES = ("image/", "video/", "application/octet-stream")
# Bytes that every picture has and no text; or the text that a canvas makes of a picture.
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1f]|\Adata:image/")


class IncomingFile(UploadedFile):  # type: ignore[type-arg]  # generic in the stubs only
    """A file in `request.FILES`. Django closes it at the end of the request, which discards it unless it was kept."""

    def __init__(self, incoming: storage.Incoming, part: Part) -> None:
        super().__init__(incoming.file, "file", "", incoming.size)  # Django accepts fewer names than `filename`
        self.incoming = incoming
        self.filename = invisible.replaced(part.filename or "", "")  # without characters that a browser would not show
        self.number = part.number

    def close(self) -> None:
        self.incoming.close()


class IncomingFileHandler(FileUploadHandler):
    chunk_size = storage.CHUNK

    def __init__(self, request: HttpRequest | None = None, files_max: int | None = None) -> None:
        super().__init__(request)
        self._files_max = settings.DATA_UPLOAD_MAX_NUMBER_FILES if files_max is None else files_max

    def handle_raw_input(
        self,
        input_data: IO[bytes],
        META: Mapping[str, Any],  # noqa: N803 - Django's name
        content_length: int,
        boundary: bytes,  # type: ignore[override]  # the stubs say str; Django encodes it before
        encoding: str | None = None,
    ) -> "tuple[QueryDict, MultiValueDict[str, UploadedFile[bytes]]]":
        with ExitStack() as unfinished:  # a form that fails leaves no files, now and not at garbage collection
            form = _Form(self._files_max, unfinished)
            for part, content in Reader(input_data.read, boundary):
                form.take(part, content)
            unfinished.pop_all()
        form.fields._mutable = False  # noqa: SLF001 - as Django's parser does it
        return form.fields, form.files


class _Form:
    """The fields and files of a form. `unfinished` closes the files, unless the form is complete."""

    def __init__(self, files_max: int, unfinished: ExitStack) -> None:
        self.fields = QueryDict(mutable=True)
        self.files: MultiValueDict[str, UploadedFile[bytes]] = MultiValueDict()
        self._files_max = files_max
        self._files = 0
        self._size = 0  # of all fields
        self._unfinished = unfinished

    def take(self, part: Part, content: Iterable[bytes]) -> None:
        if part.number > settings.DATA_UPLOAD_MAX_NUMBER_FIELDS:  # also empty ones, because each takes time
            raise BadRequest(
                f"The form has more than {settings.DATA_UPLOAD_MAX_NUMBER_FIELDS} parts. Nothing was stored."
            )
        if part.filename is None:
            self._take_field(part, content)
        else:
            self._take_file(part, content)

    def _take_file(self, part: Part, content: Iterable[bytes]) -> None:
        incoming = self._unfinished.enter_context(storage.Incoming())
        for piece in content:
            self._refuse_further_file()
            incoming.write(piece)
        if incoming.size == 0 and not part.filename:  # no file was chosen in a browser
            incoming.close()
            return
        self._refuse_further_file()
        self._files += 1
        self.files.appendlist(part.name, IncomingFile(incoming, part))

    def _refuse_further_file(self) -> None:
        if self._files >= self._files_max:
            text = "This form accepts no files. Nothing was stored or changed. Send it without files."
            if self._files_max:
                text = f"The form has more than {self._files_max} files. Nothing was stored. Send fewer at a time."
            raise BadRequest(text, visitor_text=text)

    def _take_field(self, part: Part, content: Iterable[bytes]) -> None:
        data = bytearray()
        self._count(part.name.encode())
        for piece in content:
            self._count(piece)
            data += piece
        text = data.decode("utf-8", "replace")
        if text and (_is_for_files(part) or _NO_TEXT.search(text)):
            raise NoFile(
                f"The content of {part} looks like a file, but the part has no filename. Nothing was stored; "
                "add a filename."
            )
        self.fields.appendlist(part.name, text)

    def _count(self, data: bytes) -> None:
        self._size += len(data)
        if self._size > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
            raise BadRequest(
                f"The text fields of the form have more than {settings.DATA_UPLOAD_MAX_MEMORY_SIZE} bytes in all. "
                "Nothing was stored; send a picture as a file, with a filename."
            )


def _is_for_files(part: Part) -> bool:
    """Return whether a field that contains text was meant to be a file."""
    return bool(_FOR_FILES.fullmatch(part.name)) or part.media_type.startswith(_TYPES_OF_FILES)


def without_files(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Decorate a view whose form has no files, so that nobody can fill the disk there. Must wrap whatever reads it."""

    @wraps(view)
    def wrapped(request: HttpRequest, *arguments: Any, **options: Any) -> HttpResponseBase:
        request.upload_handlers = [IncomingFileHandler(request, files_max=0)]
        return view(request, *arguments, **options)

    return wrapped


def files(request: HttpRequest) -> list[tuple[str, storage.Incoming]]:
    """Return the form's files in their order, as (file name, content), whatever their fields are called.

    Raises EmptyBody or NoFile; and what the handler above raises, because the form is parsed here at the latest.
    """
    found = [file for files in request.FILES.lists() for file in files[1] if isinstance(file, IncomingFile)]
    deadline.body_has_come(request)
    if not found:
        receive.refuse_lost(request)
        raise NoFile("The form has no file. Nothing was stored; put one or more files into the field `file`.")
    return [(file.filename, file.incoming) for file in sorted(found, key=lambda file: file.number)]
