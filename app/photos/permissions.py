"""Who may look: everybody, or with GALLERY_PUBLIC=false whoever is logged in. Who may write: whoever is logged in.

Whose photo it is, is library.py's question, which asks it again inside the transaction.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import patch_cache_control
from rest_framework.permissions import SAFE_METHODS, BasePermission

if TYPE_CHECKING:  # the framework imports this module while it is itself half imported
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser
    from rest_framework.request import Request
    from rest_framework.views import APIView


def may_look(user: "AbstractBaseUser | AnonymousUser") -> bool:
    return settings.GALLERY_PUBLIC or user.is_authenticated


class MayLook(BasePermission):
    def has_permission(self, request: "Request", view: "APIView") -> bool:
        return request.user.is_authenticated or (request.method in SAFE_METHODS and settings.GALLERY_PUBLIC)


class LoggedIn(BasePermission):
    def has_permission(self, request: "Request", view: "APIView") -> bool:
        return request.user.is_authenticated


class PrivateAnswers:
    """Middleware: with GALLERY_PUBLIC=false no cache on the way keeps an answer for the next visitor, whatever made it
    (RFC 9111, section 5.2.2.7).
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        if not settings.GALLERY_PUBLIC:
            patch_cache_control(response, private=True)
        return response
