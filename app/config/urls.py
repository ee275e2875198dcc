"""Every address of the project. /healthz and /readyz are answered earlier, in uploadstack/health.py."""

from django.urls import path, re_path
from drf_spectacular.views import SpectacularJSONAPIView

from photos import api, apidocs, downloads, pages, problems, tokenviews

urlpatterns = [
    path("", pages.gallery, name="gallery"),
    path("login/", pages.login, name="login"),
    path("logout/", pages.logout, name="logout"),
    path("delete/<str:name>", pages.delete, name="delete"),
    path("photo/<str:name>", pages.photo, name="photo"),
    path("photos/<str:name>/position", pages.position, name="position"),
    path("photos/<str:name>", downloads.original, name="original"),
    re_path(
        r"^(?P<place>(?:thumbs|renditions)/[0-9a-f]{2}/[0-9a-f]{32}\.webp)$", downloads.thumbnail, name="thumbnail"
    ),
    path("api/photos/", api.PhotoList.as_view(), name="api-photos"),
    # The same: an upload must not depend on a slash. Not in the schema twice.
    path("api/photos", api.PhotoList.as_view(schema=None)),
    # Lets a slash, and a line break, through to the view, which can say what is wrong with it.
    re_path(r"^api/photos/(?P<name>[\s\S]+)\Z", api.PhotoDetail.as_view(), name="api-photo"),
    path("api/token", tokenviews.Token.as_view(), name="api-token"),
    path("api/token/", tokenviews.Token.as_view(schema=None)),
    path("api/tokens", tokenviews.Tokens.as_view(), name="api-tokens"),
    path("api/tokens/", tokenviews.Tokens.as_view(schema=None)),
    path("api/tokens/<str:key>", tokenviews.OneOfTokens.as_view(), name="api-one-of-tokens"),
    path("api/schema/", SpectacularJSONAPIView.as_view(), name="api-schema"),
    path("api/docs/", apidocs.page, name="api-docs"),
]

handler400 = problems.bad_request
handler403 = problems.forbidden
handler404 = problems.not_found
handler500 = problems.server_error
