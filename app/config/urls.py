"""Every address of the project. /healthz and /readyz are answered earlier, in uploadstack/health.py."""

from django.urls import path, re_path
from drf_spectacular.views import SpectacularJSONAPIView

from photos import api, apidocs, media_views, plain_view, problems, token_views, views

urlpatterns = [
    path("", views.gallery, name="gallery"),
    path("login/", views.login, name="login"),
    path("logout/", views.logout, name="logout"),
    path("delete/<str:name>", views.delete, name="delete"),
    path("photo/<str:name>", views.photo, name="photo"),
    path("photos/<str:name>/position", views.position, name="position"),
    path("photos/<str:name>", media_views.original, name="original"),
    re_path(
        r"^(?P<key>(?:thumbs|renditions)/[0-9a-f]{2}/[0-9a-f]{32}\.webp)$", media_views.thumbnail, name="thumbnail"
    ),
    path("api/photos/", api.PhotoList.as_view(), name="api-photos"),
    # The same view, because an upload must not depend on a slash. The schema lists it once.
    path("api/photos", api.PhotoList.as_view(schema=None)),
    # Accepts slashes and line breaks, so that the view can explain why such a name is refused.
    re_path(r"^api/photos/(?P<name>[\s\S]+)\Z", api.PhotoDetail.as_view(), name="api-photo"),
    path("api/plain", plain_view.PlainUpload.as_view(), name="api-plain"),
    path("api/token", token_views.Token.as_view(), name="api-token"),
    path("api/token/", token_views.Token.as_view(schema=None)),
    path("api/tokens", token_views.Tokens.as_view(), name="api-tokens"),
    path("api/tokens/", token_views.Tokens.as_view(schema=None)),
    path("api/tokens/<str:key>", token_views.OneOfTokens.as_view(), name="api-one-of-tokens"),
    path("api/schema/", SpectacularJSONAPIView.as_view(), name="api-schema"),
    path("api/docs/", apidocs.page, name="api-docs"),
]

handler400 = problems.bad_request
handler403 = problems.forbidden
handler404 = problems.not_found
handler500 = problems.server_error
