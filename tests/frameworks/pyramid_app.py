"""Pyramid, as in its documentation."""

from hashlib import sha256
from typing import Any

from pyramid.config import Configurator


def take_json(request: Any) -> Any:
    return request.json_body


def take_form(request: Any) -> dict[str, Any]:
    file = request.POST["file"]
    data = file.file.read()
    note = request.POST["note"]
    return {"note": note, "name": file.filename, "size": len(data), "sha256": sha256(data).hexdigest()}


with Configurator() as configuration:
    configuration.add_route("json", "/json")
    configuration.add_route("form", "/form")
    configuration.add_view(take_json, route_name="json", renderer="json")
    configuration.add_view(take_form, route_name="form", renderer="json")
    application = configuration.make_wsgi_app()
