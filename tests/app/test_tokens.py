"""Tokens end: one, all of a user, all of all users, and after every change of the password."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client
from knox.models import AuthToken

from photos.models import Photo, TokenBinding
from tests.app.conftest import client_of
from tests.app.pictures import picture


def can_upload(client: Client) -> bool:
    response = client.put("/api/photos/a.jpg", picture(), content_type="image/jpeg")
    assert response.status_code in {200, 201, 401}
    return response.status_code < 400


def saved(user: User) -> None:
    user.set_password("another")
    user.save()


def saved_partly(user: User) -> None:
    user.set_password("another")
    user.save(update_fields=["password"])


def in_bulk(user: User) -> None:
    User.objects.filter(pk=user.pk).update(password=make_password("another"))


def with_manage_py(user: User) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEMO_USER", user.username)
        patch.setenv("DEMO_PASSWORD", "another")
        call_command("demo_user")


def made_unusable(user: User) -> None:
    user.set_unusable_password()
    user.save()


def deactivated(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


@pytest.mark.parametrize("change", [saved, saved_partly, in_bulk, with_manage_py, made_unusable, deactivated])
def test_a_change_of_the_password_ends_the_tokens(ada: User, api: Client, change: Callable[[User], None]) -> None:
    assert can_upload(api)
    change(ada)
    assert not can_upload(api)
    assert api.get("/api/photos/").status_code == 401
    if change is not deactivated:
        assert can_upload(client_of(User.objects.get(pk=ada.pk)))


def test_other_changes_of_a_user_keep_the_tokens(ada: User, api: Client) -> None:
    ada.email = "ada@example.com"
    ada.save()
    assert can_upload(api)


def test_setting_the_same_password_again_ends_the_tokens(ada: User, api: Client) -> None:
    """Django ends sessions in the same way."""
    ada.set_password("of ada")
    ada.save()
    assert not can_upload(api)


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_client_can_end_its_own_token(ada: User, api: Client, slash: str) -> None:
    other = client_of(ada)
    response = api.delete(f"/api/token{slash}")
    assert (response.status_code, response.content) == (204, b"")
    assert (can_upload(api), can_upload(other)) == (False, True)
    assert api.delete(f"/api/token{slash}").json()["error"] == "bad-token"


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_client_can_end_all_tokens_of_its_user(ada: User, api: Client, api_of_bob: Client, slash: str) -> None:
    other = client_of(ada)
    assert api.delete(f"/api/tokens{slash}").status_code == 204
    assert (can_upload(api), can_upload(other), can_upload(api_of_bob)) == (False, False, True)


def test_a_session_can_end_all_tokens_but_has_none_itself(browser: Client, api: Client) -> None:
    assert browser.delete("/api/tokens").json()["error"] == "forbidden"  # without the CSRF token
    headers = {"X-CSRFToken": str(browser.get("/").context["csrf_token"])}
    assert browser.delete("/api/token", headers=headers).json()["error"] == "bad-request"
    assert can_upload(api)
    assert browser.delete("/api/tokens", headers=headers).status_code == 204
    assert not can_upload(api)


def test_an_anonymous_client_cannot_end_tokens(client: Client, api: Client) -> None:
    for address in ("/api/token", "/api/tokens"):
        assert client.delete(address).json()["error"] == "login-needed"
    assert can_upload(api)


@pytest.mark.parametrize(
    ("arguments", "ada_can_upload", "bob_can_upload", "message"),
    [
        (["ada"], False, True, "Tokens revoked: 1"),
        (["--all"], False, False, "Tokens revoked: 2"),
        (["bob"], True, False, "Tokens revoked: 1"),
    ],
    ids=str,
)
def test_revoke_tokens_ends_the_tokens_of_one_user_or_of_all(
    api: Client, api_of_bob: Client, arguments: list[str], ada_can_upload: bool, bob_can_upload: bool, message: str
) -> None:
    stderr = StringIO()
    call_command("revoke_tokens", *arguments, stderr=stderr)
    assert stderr.getvalue().strip() == message
    assert can_upload(api) is ada_can_upload
    assert can_upload(api_of_bob) is bob_can_upload or ada_can_upload is False  # bob cannot replace a photo of ada


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nobody"], "There is no user nobody"), ([], "required"), (["ada", "--all"], "not allowed")],
    ids=str,
)
def test_revoke_tokens_refuses_unknown_or_missing_users(api: Client, arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("revoke_tokens", *arguments)
    assert AuthToken.objects.count() == 1


@pytest.mark.parametrize("token", ["\xff\xfe", "é" * 64, "0" * 10_000, "a b", ""])
def test_a_malformed_token_is_refused(transactional_db: None, token: str) -> None:
    client = Client(headers={"Authorization": f"Token {token}"}, raise_request_exception=False)
    for address in ("/api/photos/", "/photos/a.jpg"):
        assert client.get(address).status_code in {401, 404}


def migrated(*targets: tuple[str, str]) -> Any:
    """Migrate the database to these migrations, and return their models."""
    executor = MigrationExecutor(connection)
    executor.migrate(list(targets))
    return MigrationExecutor(connection).loader.project_state(list(targets)).apps


def test_the_migration_binds_tokens_to_the_current_password(ada: User, api: Client) -> None:
    """It also dates the content of each photo to the creation of the photo."""
    assert can_upload(api)
    latest = [key for key in MigrationExecutor(connection).loader.graph.leaf_nodes() if key[0] == "photos"]
    try:
        migrated(("photos", "0001_initial"))
    finally:
        migrated(*latest)
    assert AuthToken.objects.count() == TokenBinding.objects.count() == 1
    photo = Photo.objects.get()
    assert photo.modified == photo.created
    in_bulk(ada)
    assert not can_upload(api)
    assert AuthToken.objects.count() == 0


def test_an_unbound_token_is_bound_to_the_password_at_its_first_use(ada: User, api: Client) -> None:
    TokenBinding.objects.all().delete()
    assert can_upload(api)
    in_bulk(ada)
    assert not can_upload(api)


def test_the_previous_version_can_write_to_the_new_schema(ada: User, api: Client) -> None:
    """It writes photos without the new column, and deletes tokens without the rows that depend on them."""
    insert = (
        "INSERT INTO photos_photo "
        "(name, owner_id, size, sha256, content_type, width, height, original, thumbnail, created)"
        " VALUES ('b.jpg', %s, 1, '0', 'image/jpeg', 1, 1, 'o', 't', '2026-01-01 00:00:00+00:00')"
    )
    with connection.cursor() as cursor:
        cursor.execute(insert, [ada.pk])
        cursor.execute("DELETE FROM knox_authtoken")
    assert Photo.objects.get().modified.year >= 2026
    assert not can_upload(api)
