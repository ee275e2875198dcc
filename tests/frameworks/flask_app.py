"""Flask, as in its documentation."""

from hashlib import sha256

from flask import Flask, request
from werkzeug.sansio.response import Response

application = Flask(__name__)


@application.post("/json")
def take_json() -> Response:
    return application.json.response(request.get_json())


@application.post("/form")
def take_form() -> Response:
    file = request.files["file"]
    data = file.read()
    facts = {"note": request.form["note"], "name": file.filename, "size": len(data), "sha256": sha256(data).hexdigest()}
    return application.json.response(facts)
