"""Falcon, as in its documentation."""

from hashlib import sha256
from typing import Any

import falcon


class Json:
    """Accepts JSON and returns JSON."""

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        response.media = request.get_media()


class Form:
    """Accepts a form and returns JSON."""

    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        facts: dict[str, Any] = {}
        for part in request.get_media():
            if part.name == "note":
                facts["note"] = part.text
            else:
                data = part.stream.read()
                facts |= {"name": part.filename, "size": len(data), "sha256": sha256(data).hexdigest()}
        response.media = facts


application = falcon.App()
application.add_route("/json", Json())
application.add_route("/form", Form())
