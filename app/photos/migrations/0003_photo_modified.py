"""When the content came that a photo has now. Of those there are, nobody knows more than when the first one came."""

import django.db.models.functions
import django.utils.timezone
from django.db import migrations, models


def as_created(apps, schema_editor):
    apps.get_model("photos", "Photo").objects.update(modified=models.F("created"))


class Migration(migrations.Migration):

    dependencies = [
        ("photos", "0002_library"),
    ]

    operations = [
        migrations.AddField(
            model_name="photo",
            name="modified",
            field=models.DateTimeField(
                db_default=django.db.models.functions.Now(),
                default=django.utils.timezone.now,
                help_text="when the content came that it has now",
            ),
        ),
        migrations.RunPython(as_created, migrations.RunPython.noop),
    ]
