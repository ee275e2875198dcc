"""Every address of the project. /healthz and /readyz are answered earlier, in config/health.py."""

from django.contrib.auth import views as auth_views
from django.urls import path, re_path
from drf_spectacular.views import SpectacularJSONAPIView

from photos import api, downloads, pages, problems

urlpatterns = [
    path("", pages.gallery, name="gallery"),
    path("login/", auth_views.LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", auth_views.LogoutView.as_view(), name="logout"),
    path("delete/<str:name>", pages.delete, name="delete"),
    path("photos/<str:name>", downloads.original, name="original"),
    re_path(r"^(?P<place>thumbs/[0-9a-f]{2}/[0-9a-f]{32}\.webp)$", downloads.thumbnail, name="thumbnail"),
    path("api/photos/", api.PhotoList.as_view(), name="api-photos"),
    # Lets a slash, and a line break, through to the view, which can say what is wrong with it.
    re_path(r"^api/photos/(?P<name>[\s\S]+)\Z", api.PhotoDetail.as_view(), name="api-photo"),
    path("api/schema/", SpectacularJSONAPIView.as_view(), name="api-schema"),
]

handler400 = problems.bad_request
handler403 = problems.forbidden
handler404 = problems.not_found
handler500 = problems.server_error
