"""Bottle, as in its documentation."""

from hashlib import sha256
from typing import Any

from bottle import Bottle, request

application = Bottle()


def take_json() -> dict[str, Any]:
    facts: dict[str, Any] = request.json
    return facts


def take_form() -> dict[str, Any]:
    file = request.files["file"]
    data = file.file.read()
    note = request.forms.note
    return {"note": note, "name": file.raw_filename, "size": len(data), "sha256": sha256(data).hexdigest()}


application.post("/json", callback=take_json)
application.post("/form", callback=take_form)
