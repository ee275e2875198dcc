"""The web pages: the gallery with its upload form, each photo, deleting, the login. They work without JavaScript.

With JavaScript (static/photos/upload.js) the files of the form are sent one by one to POST /api/photos/, and the page
shows the progress. Both ways lead to the same page.
"""

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView, redirect_to_login
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from photos import bodylimit, images, library, logins, multipart, neighbours, problems, sharing, sweep
from photos.errors import BadName, LoginNeeded, MethodNotAllowed, Problem
from photos.models import Photo
from photos.pagination import PAGE_SIZE
from photos.permissions import may_look
from photos.preconditions import Preconditions

if TYPE_CHECKING:
    from django.contrib.auth.models import User

_NOT_ALLOWED = HTTPStatus.METHOD_NOT_ALLOWED
_View = Callable[..., HttpResponseBase]


def _shows_problems(show: Callable[[HttpRequest, Problem], HttpResponse]) -> Callable[[_View], _View]:
    """Turn a Problem into a page.

    The CSRF check is inside, because it reads the form, and so may find a broken body or a full disk.
    """

    def decorator(view: _View) -> _View:
        @csrf_exempt  # only for the outer function; `view` itself is protected
        @wraps(view)
        def wrapped(request: HttpRequest, *arguments: Any, **options: Any) -> HttpResponseBase:
            try:
                response = csrf_protect(view)(request, *arguments, **options)
            except Problem as problem:
                return show(request, problem)
            return _method_not_allowed(request, response) if response.status_code == _NOT_ALLOWED else response

        return wrapped

    return decorator


def _method_not_allowed(request: HttpRequest, empty: HttpResponseBase) -> HttpResponse:
    """Return a page instead of Django's empty response."""
    allowed = empty.headers["Allow"]
    response = problems.answer(request, MethodNotAllowed(f"{request.method} is not allowed here; use {allowed}."))
    response.headers["Allow"] = allowed
    return response


def _writers_only(view: _View) -> _View:
    """Refuse visitors without a login before their form is read. A redirect to the login would lose the form."""

    @csrf_exempt
    @wraps(view)
    def wrapped(request: HttpRequest, *arguments: Any, **options: Any) -> HttpResponseBase:
        if request.method == "POST" and not request.user.is_authenticated:
            return problems.answer(request, LoginNeeded("A form was sent without a valid session."))
        return view(request, *arguments, **options)

    return wrapped


def _page(request: HttpRequest, problem: Problem | None = None) -> HttpResponse:
    """Return the gallery with the problem's text on top; for visitors without access, only the text, or the login."""
    if may_look(request.user):
        return _photos(request, problem)
    return problems.answer(request, problem) if problem else redirect_to_login(request.get_full_path())


@_writers_only
@_shows_problems(_page)
@require_http_methods(["GET", "HEAD", "POST"])
def gallery(request: HttpRequest) -> HttpResponse:
    return _upload(request) if request.method == "POST" else _page(request)


@multipart.without_files
@_writers_only
@_shows_problems(problems.answer)
def delete(request: HttpRequest, name: str) -> HttpResponse:
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    return _delete(request, name)


@require_POST
def _delete(request: HttpRequest, name: str) -> HttpResponse:
    photo = _existing(name)
    neighbour = neighbours.older(photo) or neighbours.newer(photo)  # the one that moves up, or the last one left
    try:
        library.delete(cast("User", request.user), photo.name, Preconditions(request).check)
    except Photo.DoesNotExist as error:
        raise Http404 from error
    messages.success(request, f"Deleted {photo.name}.")
    return redirect(neighbours.address(neighbour))


@multipart.without_files
@_shows_problems(problems.answer)
@require_safe
def photo(request: HttpRequest, name: str) -> HttpResponse:
    """Show one photo, as large as the window, with its details."""
    if not may_look(request.user):
        return redirect_to_login(request.get_full_path())
    found = _existing(name)
    context = {
        "photo": found,
        "newer": neighbours.newer(found),
        "older": neighbours.older(found),
        "gallery": neighbours.address(found),
    }
    return render(request, "photos/photo.html", context)


def _existing(name: str) -> Photo:
    """Raises Http404."""
    try:
        return Photo.objects.select_related("owner").get(name=library.stored_name(name))
    except (Photo.DoesNotExist, BadName) as error:
        raise Http404 from error


@multipart.without_files
@_writers_only
@_shows_problems(problems.answer)
def position(request: HttpRequest, name: str) -> HttpResponse:
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    return _position(request, name)


@require_POST
def _position(request: HttpRequest, name: str) -> HttpResponse:
    """Browsers do not send a box that is not ticked: then others do not get the position."""
    photo = _existing(name)
    wish = sharing.wish(request.POST.get("share_position"))
    try:
        library.share_position(cast("User", request.user), photo.name, Preconditions(request).check, is_wished=wish)
    except Photo.DoesNotExist as error:
        raise Http404 from error
    others = "can see" if wish else "cannot see"
    messages.success(request, f"Others {others} where {photo.name} was taken.")
    return redirect("photo", photo.name)


class _Login(LoginView):
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        logins.begin(request, request.POST.get("username", ""))
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        response = super().form_valid(form)
        name = self.request.POST.get("username", "")
        logins.forget(self.request, name)
        logins.remember(name, response)
        return response


login = multipart.without_files(_shows_problems(problems.answer)(_Login.as_view()))
logout = multipart.without_files(_shows_problems(problems.answer)(LogoutView.as_view()))


def _upload(request: HttpRequest) -> HttpResponse:
    uploads = multipart.files(request)
    wish = sharing.wish(request.POST.get("share_position"))
    photos = library.add(cast("User", request.user), uploads, shares_position=wish)
    sweep.sweep_if_due()
    what = photos[0].name if len(photos) == 1 else f"{len(photos)} photos"
    messages.success(request, f"Stored {what}.")
    return redirect("gallery")


def _photos(request: HttpRequest, problem: Problem | None) -> HttpResponse:
    photos = Photo.objects.select_related("owner")
    page = Paginator(photos, PAGE_SIZE).get_page(request.GET.get("page"))  # the nearest existing page
    context = {
        "page": page,
        "problem": problem and problems.about_files(problem),
        "upload_max": settings.UPLOAD_MAX,
        "upload_max_text": bodylimit.human_limit(),
        "formats": images.NAMES,
        "media_types": ",".join(images.ACCEPTED),
    }
    if problem is None:
        return render(request, "photos/gallery.html", context)
    problems.note(problem)
    response = render(request, "photos/gallery.html", context, status=problem.status)
    return problems.with_headers(response, problem)
