"""Static files: their names contain a hash of the content once `collectstatic` has run, and are plain before.

So a fresh checkout needs no build step to show its style sheet, and in the image the content of a name never changes.
"""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # it comes without types
    def stored_name(self, name: str) -> str:
        return super().stored_name(name) if self.hashed_files else name
