"""Creates or updates the sample user from DEMO_USER and DEMO_PASSWORD. Runs on every start, and is idempotent."""

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from uploadstack import env


class Command(BaseCommand):
    help = "Create the sample user DEMO_USER with the password DEMO_PASSWORD, or set that password."

    def handle(self, *args: object, **options: object) -> None:
        name, password = env.text("DEMO_USER", "demo"), env.text("DEMO_PASSWORD")
        if not password or env.is_unset(password):
            raise CommandError(
                "DEMO_PASSWORD is empty or a placeholder. Run `make env`, which writes one to .env, or set one."
            )
        user, is_new = User.objects.get_or_create(username=name)
        if not is_new and user.check_password(password):
            self.stderr.write(f"User {name} already exists.")
            return
        # Setting it ends the user's sessions, so it is set only if it differs.
        user.set_password(password)
        user.save()
        self.stderr.write(f"{'Created' if is_new else 'Updated'} user {name}.")
