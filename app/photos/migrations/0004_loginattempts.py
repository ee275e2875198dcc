"""Counts of failed logins; and the tokens there are get bound to their users' passwords (photos/tokens.py)."""

import hashlib

from django.db import migrations, models


def bind(apps, schema_editor):
    tokens = apps.get_model("knox", "AuthToken").objects
    for digest, password in list(tokens.values_list("digest", "user__password")):
        # As photos.tokens.bound does; spelled out, because a migration stays as it is.
        bound = hashlib.sha512(f"{digest}:{password}".encode()).hexdigest()
        tokens.filter(digest=digest).update(digest=bound)


def forget(apps, schema_editor):
    """What is bound cannot be unbound."""
    apps.get_model("knox", "AuthToken").objects.all().delete()


class Migration(migrations.Migration):

    dependencies = [
        ("photos", "0003_photo_modified"),
        ("knox", "0009_extend_authtoken_field"),
    ]

    operations = [
        migrations.CreateModel(
            name="LoginAttempts",
            fields=[
                ("key", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField(default=0)),
                ("last", models.DateTimeField(db_index=True)),
            ],
        ),
        migrations.RunPython(bind, forget),
    ]
