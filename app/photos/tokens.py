"""API tokens that end when their user's password changes, however it is changed: by a form, `manage.py
changepassword`, `demo_user`, or SQL.

Each token of knox has a row with a hash of the password's hash. If the password has changed since, the token is refused
and deleted. Django ends sessions the same way, also when a new version of Django rehashes a password at the next login.
A token without such a row (created by an older version of this project) gets one when it is used.
"""

import hashlib
from hmac import compare_digest
from typing import Any

from django.contrib.auth.models import User
from django.db.models.signals import post_save
from django.dispatch import receiver
from knox.auth import TokenAuthentication
from knox.models import AuthToken
from rest_framework.exceptions import AuthenticationFailed

from photos.models import TokenBinding


def fingerprint(user: User) -> str:
    return hashlib.sha256(user.password.encode()).hexdigest()


@receiver(post_save, sender=AuthToken)
def bind(instance: AuthToken, created: bool, **_: Any) -> None:  # noqa: FBT001 - the signal's argument
    """Bind each new token to the password, whatever creates it."""
    if created:
        TokenBinding.objects.create(token=instance, password=fingerprint(instance.user))


class BoundTokens(TokenAuthentication):  # type: ignore[misc]  # it comes without types
    def authenticate_credentials(self, token: bytes) -> tuple[User, AuthToken]:
        if not token.isascii():  # knox decodes it as UTF-8, and fails
            raise AuthenticationFailed
        user, auth = super().authenticate_credentials(token)
        return user, auth

    def validate_user(self, auth_token: AuthToken) -> tuple[User, AuthToken]:
        """Called by knox if the token exists and has not expired."""
        user, auth = super().validate_user(auth_token)
        now = fingerprint(user)
        binding, _ = TokenBinding.objects.get_or_create(token=auth, defaults={"password": now})
        if not compare_digest(binding.password, now):
            auth.delete()
            raise AuthenticationFailed
        return user, auth
