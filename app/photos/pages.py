"""The web page: the gallery with its upload form, taking a photo away, the login. Works without JavaScript.

With JavaScript (static/photos/upload.js) the form's files go one by one to POST /api/photos/, with progress; the page
that comes back is this one either way.
"""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView, redirect_to_login
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST

from photos import bodylimit, images, library, logins, multipart, problems, sweep
from photos.errors import LoginNeeded, Problem
from photos.models import Photo
from photos.paging import PAGE_SIZE
from photos.permissions import may_look
from photos.preconditions import Preconditions

if TYPE_CHECKING:
    from django.contrib.auth.models import User

_LOGIN = (
    "You are not logged in, or your last login has ended. Nothing was stored or changed. Log in, and send it again."
)
_View = Callable[..., HttpResponseBase]


def _shows_problems(show: Callable[[HttpRequest, Problem], HttpResponse]) -> Callable[[_View], _View]:
    """Turn a Problem into a page.

    It wraps the CSRF check, too, because that is who reads the form, and so who meets a broken body or a full disk.
    """

    def decorator(view: _View) -> _View:
        @csrf_exempt  # only here, outside: `view` is protected again within
        @wraps(view)
        def wrapped(request: HttpRequest, *arguments: Any, **options: Any) -> HttpResponseBase:
            try:
                return csrf_protect(view)(request, *arguments, **options)
            except Problem as problem:
                return show(request, problem)

        return wrapped

    return decorator


def _writers_only(view: _View) -> _View:
    """Refuse strangers before their form is read. No redirect to the login: it would lose what they sent."""

    @csrf_exempt
    @wraps(view)
    def wrapped(request: HttpRequest, *arguments: Any, **options: Any) -> HttpResponseBase:
        if request.method == "POST" and not request.user.is_authenticated:
            return problems.on_a_page(request, LoginNeeded(_LOGIN))
        return view(request, *arguments, **options)

    return wrapped


def _page(request: HttpRequest, problem: Problem | None = None) -> HttpResponse:
    """The gallery, with the problem's sentence on top. Who may not look sees the sentence alone, or the login."""
    if may_look(request.user):
        return _photos(request, problem)
    return problems.on_a_page(request, problem) if problem else redirect_to_login(request.get_full_path())


@_writers_only
@_shows_problems(_page)
@require_http_methods(["GET", "HEAD", "POST"])
def gallery(request: HttpRequest) -> HttpResponse:
    return _upload(request) if request.method == "POST" else _page(request)


@multipart.without_files
@_writers_only
@_shows_problems(problems.on_a_page)
def delete(request: HttpRequest, name: str) -> HttpResponse:
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    return _delete(request, name)


@require_POST
def _delete(request: HttpRequest, name: str) -> HttpResponse:
    try:
        library.delete(cast("User", request.user), name, Preconditions(request).check)
    except Photo.DoesNotExist as error:
        raise Http404 from error
    messages.success(request, f"{name} is gone.")
    return redirect("gallery")


class _Login(LoginView):
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        logins.begin(request)
        return super().post(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        response = super().form_valid(form)
        logins.succeeded(self.request, response)
        return response


login = multipart.without_files(_shows_problems(problems.on_a_page)(_Login.as_view()))
logout = multipart.without_files(_shows_problems(problems.on_a_page)(LogoutView.as_view()))


def _upload(request: HttpRequest) -> HttpResponse:
    photos = library.add(cast("User", request.user), multipart.files(request))
    sweep.sweep_if_due()
    what = photos[0].name if len(photos) == 1 else f"{len(photos)} photos"
    messages.success(request, f"Stored {what}.")
    return redirect("gallery")


def _photos(request: HttpRequest, problem: Problem | None) -> HttpResponse:
    photos = Photo.objects.select_related("owner")
    page = Paginator(photos, PAGE_SIZE).get_page(request.GET.get("page"))  # the nearest one there is
    context = {
        "page": page,
        "problem": problem,
        "upload_max": settings.UPLOAD_MAX,
        "upload_max_text": bodylimit.for_people(),
        "formats": images.NAMES,
        "media_types": ",".join(kind.content_type for kind in images.KINDS),
    }
    response = render(request, "photos/gallery.html", context, status=problem.status if problem else 200)
    return problems.with_headers(response, problem) if problem else response
