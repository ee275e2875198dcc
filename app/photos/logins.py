"""How often passwords may be tried for one account, from any number of addresses; nginx counts each address.

After LOGIN_FAILURES failures there is a pause before each further attempt, of a minute, then two, up to a quarter of an
hour. Attempts in the pause count for nothing, and are answered alike whether or not there is such an account, as are
the failures before. So guessing is slow, and nobody is locked out for longer than that. Nor can a stranger who fails on
purpose keep a user out: a browser in which that user has logged in before has a signed cookie, and a count of its own.

An attempt is counted before the password is looked at, so that many at the same moment are many. The counts are rows:
all processes share them. What identifies an account or a browser is stored as an HMAC: people type passwords into the
field for names. The page and the API count together; the API knows no browser.
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
        wait = min(pause, pause - int((now - attempts.last).total_seconds()))  # a clock may have been set back
        if wait <= 0:
            attempts.number += 1
            attempts.last = now
            attempts.save()
    if wait > 0:
        raise TooManyLogins(f"Too many attempts to log in to this account. Try again in {wait} seconds.", wait)


def forget(request: HttpRequest, name: str) -> None:
    """After a success: the attempts of this browser, or of all that are unknown."""
    LoginAttempts.objects.filter(key=_key(request, name)).delete()


def remember(name: str, response: HttpResponse) -> None:
    """Know this browser for this account from now on."""
    value = signing.dumps([_account(name), uuid.uuid4().hex], salt=_SALT)
    response.set_cookie(
        settings.KNOWN_BROWSER_COOKIE_NAME, value, max_age=_COOKIE_AGE, httponly=True, samesite="Lax", path="/login/"
    )


def _pause(number: int) -> int:
    """Seconds after so many attempts."""
    above = number - settings.LOGIN_FAILURES
    return min(_PAUSE_MAX, _PAUSE * 2 ** min(above, 10)) if above >= 0 else 0


def _account(name: str) -> str:
    same = unicodedata.normalize("NFKC", name).strip().casefold()
    return salted_hmac(_SALT, same, algorithm="sha256").hexdigest()


def _key(request: HttpRequest, name: str) -> str:
    """Of the browser, if it is known for this account, else of the account."""
    account = _account(name)
    try:
        known, browser = signing.loads(
            request.COOKIES.get(settings.KNOWN_BROWSER_COOKIE_NAME, ""), salt=_SALT, max_age=_COOKIE_AGE
        )
    except (signing.BadSignature, ValueError, TypeError):
        return account
    return salted_hmac(_SALT, f"{account} {browser}", algorithm="sha256").hexdigest() if known == account else account
