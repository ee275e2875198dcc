from django.apps import AppConfig


class PhotosConfig(AppConfig):
    name = "photos"

    def ready(self) -> None:
        from photos import tokens  # noqa: F401, PLC0415 - its receiver; models can be imported only now
