"""Static files: names with a hash of their content once `collectstatic` has run, plain names before.

So a fresh checkout shows its style sheet without a build step, and the image serves names that never change meaning.
"""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]  # it comes without types
    def stored_name(self, name: str) -> str:
        return super().stored_name(name) if self.hashed_files else name
