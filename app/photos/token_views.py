"""Tokens over HTTP: created for a name and a password, listed, and revoked. tokens.py explains tokens.

A session cannot create a token, and its cookie is ignored there: another site could make the browser send the cookie,
but does not know the password. Sessions may list and revoke tokens; for that they need their CSRF token.
"""

from django.contrib.auth.forms import AuthenticationForm
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from knox.models import AuthToken
from knox.views import LoginView
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import NotFound
from rest_framework.parsers import FormParser, JSONParser
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from photos import bodylimit, logins, schema
from photos.errors import BadRequest, TooLarge, WrongLogin
from photos.permissions import LoggedIn
from photos.serializers import LoginSerializer, TokenFactsSerializer

_BODY_MAX = 64 * 1024  # bytes; nginx takes as much at this address (nginx/form.conf)


class Token(LoginView):  # type: ignore[misc]  # it comes without types
    """The token of the request; POST creates one. The schema does not list DELETE: a program that tries all operations
    would revoke its own token.
    """

    parser_classes = [JSONParser, FormParser]

    def get_authenticators(self) -> list[BaseAuthentication]:
        if self.request is not None and self.request.method == "POST":
            return []
        return [authenticator() for authenticator in self.authentication_classes]

    def get_permissions(self) -> list[BasePermission]:
        return [] if self.request.method == "POST" else [LoggedIn()]

    @extend_schema(**schema.LOGIN)
    def post(self, request: Request) -> Response:
        if (bodylimit.content_length(request) or 0) > _BODY_MAX:
            raise TooLarge("The request is larger than 64 KB. Send a name and a password, and nothing else.")
        name, password = _login(request)
        logins.begin(request, name)
        form = AuthenticationForm(request, {"username": name, "password": password})
        if not form.is_valid():
            raise WrongLogin("The name or the password is wrong. Check both and try again.")
        logins.forget(request, name)
        request.user = form.get_user()
        AuthToken.objects.filter(user=request.user, expiry__lte=timezone.now()).delete()
        response: Response = super().post(request)
        response.headers["Cache-Control"] = "no-store"
        return response

    @extend_schema(exclude=True)
    def delete(self, request: Request) -> Response:
        if not isinstance(request.auth, AuthToken):
            raise BadRequest(
                "This request has no token, so there is none to end. DELETE /api/tokens ends all your tokens."
            )
        request.auth.delete()
        return Response(status=204)


class Tokens(APIView):
    """All tokens of the user."""

    permission_classes = [LoggedIn]

    @extend_schema(**schema.TOKENS)
    def get(self, request: Request) -> Response:
        tokens = AuthToken.objects.filter(user=request.user).order_by("-created", "digest")
        serializer = TokenFactsSerializer(tokens, many=True, context={"current": request.auth})
        return Response(serializer.data)

    @extend_schema(exclude=True)
    def delete(self, request: Request) -> Response:
        AuthToken.objects.filter(user=request.user).delete()
        return Response(status=204)


class OneOfTokens(APIView):
    """One token of the user, by its key in the list."""

    permission_classes = [LoggedIn]

    @extend_schema(exclude=True)
    def delete(self, request: Request, key: str) -> Response:
        deleted, _ = AuthToken.objects.filter(user=request.user, token_key=key).delete()
        if not deleted:
            raise NotFound("You have no token with this key. GET /api/tokens lists your tokens.")
        return Response(status=204)


def _login(request: Request) -> tuple[str, str]:
    """Return the name and the password. Raises BadRequest, and what the parsers raise."""
    try:
        serializer = LoginSerializer(data=request.data)
        is_valid = serializer.is_valid()
    except RecursionError:  # thousands of nested brackets
        is_valid = False
    if not is_valid:
        raise BadRequest(
            'The body must be a name and a password, {"username": "...", "password": "..."}, as JSON or as a form.'
        )
    return serializer.validated_data["username"], serializer.validated_data["password"]
