"""API tokens that end with their user's password, whoever changes it and how: a form, `manage.py changepassword`,
`demo_user`, SQL.

Beside each token of knox there is a hash of the password's own hash. A token whose password is another one by now is
refused, and removed. Sessions end the same way in Django, also when a new version of Django hashes a password anew at
its user's next login. A token that has no such row (an older version of this project made it) gets one when it is used.
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
    """Whoever makes a token."""
    if created:
        TokenBinding.objects.create(token=instance, password=fingerprint(instance.user))


class BoundTokens(TokenAuthentication):  # type: ignore[misc]  # it comes without types
    def authenticate_credentials(self, token: bytes) -> tuple[User, AuthToken]:
        if not token.isascii():  # knox takes it for UTF-8, and breaks
            raise AuthenticationFailed
        user, auth = super().authenticate_credentials(token)
        return user, auth

    def validate_user(self, auth_token: AuthToken) -> tuple[User, AuthToken]:
        """Called by knox when the token is known and not too old."""
        user, auth = super().validate_user(auth_token)
        now = fingerprint(user)
        binding, _ = TokenBinding.objects.get_or_create(token=auth, defaults={"password": now})
        if not compare_digest(binding.password, now):
            auth.delete()
            raise AuthenticationFailed
        return user, auth
