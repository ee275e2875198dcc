from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("photos", "0004_logins_and_tokens"),
    ]

    operations = [
        migrations.AddField(
            model_name="library",
            name="sweeps",
            field=models.PositiveBigIntegerField(
                db_default=0, default=0, help_text="sweeps that could take published files away; only grows"
            ),
        ),
    ]
