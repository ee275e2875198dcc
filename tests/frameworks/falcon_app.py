"""Falcon, as its documentation has it."""

from hashlib import sha256
from typing import Any

import falcon


class Json:
    """JSON in, JSON out."""

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = request.get_media()


class Form:
    """A form in, JSON out."""

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        told: dict[str, Any] = {}
        for part in request.get_media():
            if part.name == "note":
                told["note"] = part.text
            else:
                data = part.stream.read()
                told |= {"name": part.filename, "size": len(data), "sha256": sha256(data).hexdigest()}
        response.media = told


application = falcon.App()
application.add_route("/json", Json())
application.add_route("/form", Form())
