"""Limits how often passwords can be tried for one account, from any number of addresses; nginx limits each address.

After LOGIN_FAILURES failed attempts, each further attempt must wait: one minute, then two, up to 15 minutes. Attempts
during the wait are not counted. All responses are the same whether or not the account exists. So guessing is slow, and
nobody is locked out for longer than 15 minutes. An attacker who fails on purpose cannot lock a user out: a browser in
which the user has logged in before has a signed cookie, and a separate count.

An attempt is counted before the password is checked, so that simultaneous attempts all count. The counts are rows,
which all processes share. Accounts and browsers are stored as HMACs, because users sometimes type passwords into the
field for names. The page and the API share the counts; the API has no browser cookie.
"""

import unicodedata
import uuid
from datetime import timedelta

from django.conf import settings
from django.core import signing
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.crypto import salted_hmac

from photos.errors import TooManyLogins
from photos.models import LoginAttempts

_PAUSE, _PAUSE_MAX = 60, 900  # seconds
FORGET_AFTER = timedelta(hours=1)  # after the last attempt; longer than any pause
_SALT = "photos.logins"
_COOKIE_AGE = 180 * 24 * 3600  # seconds


def begin(request: HttpRequest, name: str) -> None:
    """Count an attempt to log in under this name, before it is made. Raises TooManyLogins."""
    now = timezone.now()
    with transaction.atomic(durable=True):
        LoginAttempts.objects.filter(last__lt=now - FORGET_AFTER).delete()
        attempts, _ = LoginAttempts.objects.select_for_update().get_or_create(
            key=_key(request, name), defaults={"last": now}
        )
        pause = _pause(attempts.number)
        wait = min(pause, pause - int((now - attempts.last).total_seconds()))  # the clock may have been set back
        if wait <= 0:
            attempts.number += 1
            attempts.last = now
            attempts.save()
    if wait > 0:
        raise TooManyLogins(f"Too many attempts to log in to this account. Try again in {wait} seconds.", wait)


def forget(request: HttpRequest, name: str) -> None:
    """Forget the attempts after a successful login: those of this browser, or of all unknown browsers."""
    LoginAttempts.objects.filter(key=_key(request, name)).delete()


def remember(name: str, response: HttpResponse) -> None:
    """Remember this browser for this account from now on."""
    value = signing.dumps([_account(name), uuid.uuid4().hex], salt=_SALT)
    response.set_cookie(
        settings.KNOWN_BROWSER_COOKIE_NAME, value, max_age=_COOKIE_AGE, httponly=True, samesite="Lax", path="/login/"
    )


def _pause(number: int) -> int:
    """Return the seconds to wait after `number` attempts."""
    above = number - settings.LOGIN_FAILURES
    return min(_PAUSE_MAX, _PAUSE * 2 ** min(above, 10)) if above >= 0 else 0


def _account(name: str) -> str:
    same = unicodedata.normalize("NFKC", name).strip().casefold()
    return salted_hmac(_SALT, same, algorithm="sha256").hexdigest()


def _key(request: HttpRequest, name: str) -> str:
    """Return the key of the browser if it is known for this account, otherwise of the account."""
    account = _account(name)
    try:
        known, browser = signing.loads(
            request.COOKIES.get(settings.KNOWN_BROWSER_COOKIE_NAME, ""), salt=_SALT, max_age=_COOKIE_AGE
        )
    except (signing.BadSignature, ValueError, TypeError):
        return account
    return salted_hmac(_SALT, f"{account} {browser}", algorithm="sha256").hexdigest() if known == account else account
