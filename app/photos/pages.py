"""The web page: the gallery with its upload form, and taking a photo away. Works without JavaScript.

With JavaScript (static/photos/upload.js) the form's files go one by one to POST /api/photos/, with progress; the page
that comes back is this one either way.
"""

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.csrf import csrf_exempt, csrf_protect
from django.views.decorators.http import require_http_methods, require_POST

from photos import bodylimit, images, library, multipart, problems, sweep
from photos.errors import NotOwner, Problem
from photos.models import Photo
from photos.paging import PAGE_SIZE
from photos.permissions import may_look

if TYPE_CHECKING:
    from django.contrib.auth.models import User

_View = Callable[[HttpRequest], HttpResponse]


def _shows_problems(view: _View) -> _View:
    """Turn a Problem into the gallery with its sentence on top.

    It wraps the CSRF check, too, because that is who reads the form, and so who meets a broken body or a full disk.
    """

    @csrf_exempt  # only here, outside: `view` is protected again within
    @wraps(view)
    def wrapped(request: HttpRequest) -> HttpResponse:
        try:
            return csrf_protect(view)(request)
        except Problem as problem:
            return _page(request, problem)

    return wrapped


@_shows_problems
@require_http_methods(["GET", "HEAD", "POST"])
def gallery(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        return _upload(request)
    if not may_look(request.user):
        return redirect_to_login(request.get_full_path())
    return _page(request)


@login_required
@require_POST
def delete(request: HttpRequest, name: str) -> HttpResponse:
    try:
        library.delete(cast("User", request.user), name)
    except Photo.DoesNotExist as error:
        raise Http404 from error
    except NotOwner as problem:
        return problems.answer(request, problem.status, problem.code, str(problem))
    messages.success(request, f"{name} is gone.")
    return redirect("gallery")


def _upload(request: HttpRequest) -> HttpResponse:
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    photos = library.add(request.user, multipart.files(request))
    sweep.sweep_if_due()
    what = photos[0].name if len(photos) == 1 else f"{len(photos)} photos"
    messages.success(request, f"Stored {what}.")
    return redirect("gallery")


def _page(request: HttpRequest, problem: Problem | None = None) -> HttpResponse:
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
