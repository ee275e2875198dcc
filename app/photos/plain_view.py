"""An upload as many projects have it: the view writes what it reads, and answers 200. `make demo` uploads to it.

Nothing here is wrong, and yet behind most servers it loses every chunked upload: they give Django no CONTENT_LENGTH,
and without one Django reads 0 bytes (PEP 3333). The photos' own views refuse an empty body instead (receive.py). The
file is temporary, so nothing of it stays.
"""

import hashlib
import shutil
import tempfile

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from photos.permissions import LoggedIn


class PlainUpload(APIView):
    permission_classes = [LoggedIn]

    @extend_schema(exclude=True)
    def put(self, request: Request) -> Response:
        with tempfile.TemporaryFile(dir=settings.MEDIA_ROOT) as file:
            shutil.copyfileobj(request, file)
            stored_bytes = file.tell()
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return Response({"stored_bytes": stored_bytes, "sha256": sha256})
