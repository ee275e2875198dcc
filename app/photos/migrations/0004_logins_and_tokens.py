"""Counts of failed logins; and which password each token belongs to (photos/tokens.py)."""

import hashlib

import django.db.models.deletion
from django.db import migrations, models


def bind(apps, schema_editor):
    tokens = apps.get_model("knox", "AuthToken").objects.values_list("digest", "user__password")
    binding = apps.get_model("photos", "TokenBinding")
    binding.objects.bulk_create(
        (
            binding(token_id=digest, password=hashlib.sha256(password.encode()).hexdigest())
            for digest, password in tokens
        ),
        batch_size=200,
    )


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
        migrations.CreateModel(
            name="TokenBinding",
            fields=[
                (
                    "token",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        serialize=False,
                        to="knox.authtoken",
                    ),
                ),
                (
                    "password",
                    models.CharField(
                        help_text="SHA-256 of the hash that Django stores, in hexadecimal", max_length=64
                    ),
                ),
            ],
        ),
        migrations.RunPython(bind, migrations.RunPython.noop),
    ]
