"""Which file others download. Of the photos there are nobody knows yet whether they tell their position."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("photos", "0006_renditions"),
    ]

    operations = [
        migrations.AddField(
            model_name="photo",
            name="shared",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="the original without its position; empty if it has none",
                max_length=60,
            ),
        ),
        migrations.AddField(
            model_name="photo",
            name="shared_sha256",
            field=models.CharField(blank=True, db_default="", default="", max_length=64),
        ),
        migrations.AddField(
            model_name="photo",
            name="examined",
            field=models.CharField(
                blank=True, db_default="", default="", help_text="the original that `shared` is of", max_length=60
            ),
        ),
        migrations.AddField(
            model_name="photo",
            name="shares_position",
            field=models.BooleanField(
                db_default=False, default=False, help_text="the owner's wish: others get the original, too"
            ),
        ),
        migrations.AddIndex(model_name="photo", index=models.Index(fields=["shared"], name="by_shared")),
    ]
