"""CherryPy, without its own server."""

import json
from hashlib import sha256
from typing import Any

import cherrypy


class Root:
    """Two pages."""

    def json(self) -> bytes:
        return json.dumps(cherrypy.request.json).encode()

    def form(self, note: str, file: Any) -> bytes:
        data = file.file.read()
        facts = {"note": note, "name": file.filename, "size": len(data), "sha256": sha256(data).hexdigest()}
        return json.dumps(facts).encode()


Root.json.exposed = Root.form.exposed = True  # type: ignore[attr-defined]  # as the framework wants it
Root.json._cp_config = {"tools.json_in.on": True}  # type: ignore[attr-defined]  # noqa: SLF001 - the same
cherrypy.config.update({"environment": "embedded", "log.screen": True})
application = cherrypy.Application(Root(), "")
