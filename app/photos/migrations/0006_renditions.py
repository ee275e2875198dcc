from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("photos", "0005_library_sweeps"),
    ]

    operations = [
        migrations.AddField(
            model_name="photo",
            name="thumbnail_2x",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="for dense screens; empty if the photo is small",
                max_length=60,
            ),
        ),
        migrations.AddField(
            model_name="photo",
            name="preview",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="for browsers that do not show the original",
                max_length=60,
            ),
        ),
        migrations.AddIndex(
            model_name="photo", index=models.Index(fields=["thumbnail_2x"], name="by_thumbnail_2x")
        ),
        migrations.AddIndex(model_name="photo", index=models.Index(fields=["preview"], name="by_preview")),
    ]
