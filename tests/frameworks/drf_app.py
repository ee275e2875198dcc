"""Django REST framework, in a project of one file."""

from hashlib import sha256

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    DEBUG=True,
    ROOT_URLCONF=__name__,
    SECRET_KEY="of a test, and of nothing else",
    INSTALLED_APPS=["rest_framework"],
    REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
)
application = get_wsgi_application()

from rest_framework.decorators import api_view  # noqa: E402 - only after the settings
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402


@api_view(["POST"])
def take_json(request: Request) -> Response:
    return Response(request.data)


@api_view(["POST"])
def take_form(request: Request) -> Response:
    file = request.FILES["file"]
    data = file.read()
    note = request.data["note"]  # type: ignore[call-overload]  # of a form it is a dictionary
    return Response({"note": note, "name": file.name, "size": len(data), "sha256": sha256(data).hexdigest()})


urlpatterns = [path("json", take_json), path("form", take_form)]
