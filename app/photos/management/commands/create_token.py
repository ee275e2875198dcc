"""Prints a new API token, and nothing else, so that `TOKEN=$(manage.py create_token)` works.

Only a hash of the token is stored, so it cannot be shown again.
"""

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from knox.models import AuthToken

from uploadstack import env


class Command(BaseCommand):
    help = (
        "Create an API token for a user (by default the sample user) and print it. Send it as: Authorization: Token ..."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", nargs="?", default=env.text("DEMO_USER", "demo"), help="the user's name")

    def handle(self, *args: object, **options: object) -> None:
        name = options["user"]
        try:
            user = User.objects.get(username=name)
        except User.DoesNotExist as error:
            raise CommandError(
                f"There is no user {name}. `manage.py demo_user` creates the sample user, "
                "`manage.py createsuperuser` any other."
            ) from error
        _, token = AuthToken.objects.create(user=user)
        self.stdout.write(token)
