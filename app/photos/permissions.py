"""Everyone may view photos; with GALLERY_PUBLIC=false, only users who are logged in. Only these may write.

Whether a photo belongs to the user is checked by library.py, inside the transaction.
"""

from typing import TYPE_CHECKING

from django.conf import settings
from rest_framework.permissions import SAFE_METHODS, BasePermission

if TYPE_CHECKING:  # the framework imports this module while it is still being imported itself
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
