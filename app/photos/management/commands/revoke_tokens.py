"""Revokes API tokens of one user, or of all. They also expire after 30 days, and end when the password changes."""

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from knox.models import AuthToken


class Command(BaseCommand):
    help = "Revoke all API tokens of one user, or with --all the tokens of all users."

    def add_arguments(self, parser: CommandParser) -> None:
        who = parser.add_mutually_exclusive_group(required=True)
        who.add_argument("user", nargs="?", help="the user's name")
        who.add_argument("--all", action="store_true", help="the tokens of all users")

    def handle(self, *args: object, **options: object) -> None:
        tokens = AuthToken.objects.all()
        if not options["all"]:
            try:
                tokens = tokens.filter(user=User.objects.get(username=options["user"]))
            except User.DoesNotExist as error:
                raise CommandError(
                    f"There is no user {options['user']}. Use --all for the tokens of all users."
                ) from error
        _, deleted = tokens.delete()
        self.stderr.write(f"Tokens revoked: {deleted.get('knox.AuthToken', 0)}")
