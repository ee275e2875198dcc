"""API tokens that end with their user's password.

knox stores a token's hash. Here the hash of the user's password is mixed into it, so a token fits only while that
password lasts, whoever changes it and how: a form, `manage.py changepassword`, `demo_user`, SQL. Sessions end the same
way in Django, also when a new version of Django hashes a password anew at its user's next login.
"""

import hashlib
from hmac import compare_digest
from typing import Any

from django.contrib.auth.models import User
from django.db.models.signals import pre_save
from django.dispatch import receiver
from knox.auth import TokenAuthentication
from knox.crypto import hash_token
from knox.models import AuthToken
from knox.settings import CONSTANTS
from rest_framework.exceptions import AuthenticationFailed


def bound(digest: str, password_hash: str) -> str:
    """As long as knox's own: SHA-512 in hexadecimal."""
    return hashlib.sha512(f"{digest}:{password_hash}".encode()).hexdigest()


@receiver(pre_save, sender=AuthToken)
def bind(instance: AuthToken, **_: Any) -> None:
    """Whoever makes a token: it is bound before it is stored."""
    if instance._state.adding:  # noqa: SLF001 - a documented attribute in spite of its name
        instance.digest = bound(instance.digest, instance.user.password)


class BoundTokens(TokenAuthentication):  # type: ignore[misc]  # it comes without types
    def authenticate_credentials(self, token: bytes) -> tuple[User, AuthToken]:
        """As in knox, but for the binding, and for a token that is no UTF-8."""
        text = token.decode("ascii", "replace")
        digest = hash_token(text)
        candidates = AuthToken.objects.filter(token_key=text[: CONSTANTS.TOKEN_KEY_LENGTH]).select_related("user")
        for candidate in candidates:
            if self._cleanup_token(candidate):  # too old
                continue
            if compare_digest(bound(digest, candidate.user.password), candidate.digest):
                user, auth = self.validate_user(candidate)
                return user, auth
        raise AuthenticationFailed
