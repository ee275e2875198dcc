"""The steps of backup and restore (uploadstack/archive.py) in a process that dies before one of them.

A step is a system call that changes a folder. The process dies before its n-th step, for n = 0, 1, 2 and so on until it
has fewer steps. Afterwards the volumes have the complete old state, or can be set back to it, or the complete new one.
"""

import json
import os
import re
import sqlite3
import sys
import tarfile
from collections.abc import Callable
from contextlib import closing
from io import BytesIO, StringIO, TextIOWrapper
from itertools import count
from pathlib import Path

import pytest

from tests.forks import in_fork
from uploadstack import archive

CALLS = ("mkdir", "rename", "unlink", "rmdir", "link")
DIED = 9
# As manage.py media_columns prints them: one that the database lacks, and one whose files are in a separate folder.
COLUMNS = json.dumps(
    [
        {"table": "photos_photo", "column": "original", "folder": ""},
        {"table": "photos_photo", "column": "thumbnail", "folder": ""},
        {"table": "photos_photo", "column": "preview", "folder": ""},
        {"table": 'odd "Table"', "column": "a file", "folder": "private"},
    ]
)
MEDIA_BEFORE = {"originals/00/a.jpg": b"a", "originals/01/b.jpg": b"b", "thumbs/00/a.webp": b"small a", "lone": b"1"}
MEDIA_AFTER = {"originals/00/a.jpg": b"another a", "originals/02/c.jpg": b"c", "previews/c.webp": b"small c"}
IDS = {
    "both": (b"1\n", b"2\n"),
    "an older archive": (b"1\n", b""),
    "an older stack": (b"", b"2\n"),
    "neither": (b"", b""),
}
DATA_BEFORE = {"db.sqlite3": b"rows", "db.sqlite3-wal": b"more rows", "db.sqlite3-shm": b"an index"}
DATA_AFTER = {"db.sqlite3": b"restored rows"}


class Volumes:
    """Both volumes with their files, the unpacked files of an archive, and the library ids of both."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, ids: tuple[bytes, bytes]) -> None:
        self.media, self.data = folder / "media", folder / "data"
        self.database = str(self.data / "db.sqlite3")
        patch.setattr(archive, "MEDIA", self.media)
        patch.setattr(archive, "DATA", self.data)
        patch.setattr(archive, "COPY", self.data / archive.PINNED / "database")
        write_files(self.media, MEDIA_BEFORE)
        write_files(self.data, DATA_BEFORE)
        write_files(self.media / archive.UNPACKED / "media", MEDIA_AFTER)
        write_files(self.data / archive.UNPACKED, {"database": DATA_AFTER["db.sqlite3"]})
        self._ids = ids
        before, after = ids
        if before:  # the count is of the old database: the restored one has a lower count
            write_files(self.media, {archive.LIBRARY: before, archive.COUNT: b"1 9\n"})
        about = {"library": after.decode()} if after else {}
        write_files(self.media / archive.UNPACKED, {archive.ABOUT: json.dumps(about).encode()})

    @property
    def has_old_state(self) -> bool:
        return (self.media / archive.KEPT).exists()

    def swap(self) -> None:
        archive.swap(self.database)

    def undo(self) -> None:
        archive.undo(self.database)

    def check_before(self) -> None:
        before = self._ids[0]
        library = {archive.LIBRARY: before, archive.COUNT: b"1 9\n"} if before else {}
        self._check(MEDIA_BEFORE, DATA_BEFORE, library)

    def check_after(self) -> None:
        after = self._ids[1]
        self._check(MEDIA_AFTER, DATA_AFTER, {archive.LIBRARY: after} if after else {})

    def _check(self, media: dict[str, bytes], data: dict[str, bytes], library: dict[str, bytes]) -> None:
        """Check the files of both volumes, and that no other name begins with a dot."""
        assert read_files(self.media) == media | library
        assert read_files(self.data) == data
        assert {path.name for top in (self.media, self.data) for path in top.glob(".*")} == set(library)


def write_files(top: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(content)


def read_files(top: Path) -> dict[str, bytes]:
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in top.rglob("*") if path.is_file()}


def dies(nth: int, action: Callable[[], None]) -> bool:
    """Run the action in a process that dies before its n-th step; return whether it had that many."""

    def act() -> None:
        steps = count()

        def counted(call: Callable[..., object]) -> Callable[..., object]:
            def replacement(*arguments: object, **options: object) -> object:
                if next(steps) == nth:
                    os._exit(DIED)
                return call(*arguments, **options)

            return replacement

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        action()

    status = in_fork(act)
    assert status in {0, DIED}
    return status == DIED


@pytest.fixture(params=IDS)
def new_volumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[[], Volumes]:
    """Return a function that creates new volumes."""
    numbers = count()
    return lambda: Volumes(tmp_path / str(next(numbers)), monkeypatch, IDS[request.param])


def test_a_successful_restore_replaces_photos_and_database(new_volumes: Callable[[], Volumes]) -> None:
    volumes = new_volumes()
    volumes.swap()
    assert volumes.has_old_state
    archive.forget()
    volumes.check_after()


@pytest.mark.parametrize("about", [b"", b"no json", b"[]", b'{"library": [1]}', b"\xff"])
def test_an_archive_with_invalid_facts_changes_nothing(new_volumes: Callable[[], Volumes], about: bytes) -> None:
    volumes = new_volumes()
    (volumes.media / archive.UNPACKED / archive.ABOUT).write_bytes(about)
    with pytest.raises(archive.Refusal, match=re.escape("about.json")):
        volumes.swap()
    assert not volumes.has_old_state
    archive.forget()
    volumes.check_before()


@pytest.mark.slow
def test_an_interrupted_restore_can_be_undone(new_volumes: Callable[[], Volumes]) -> None:
    """The undo may be interrupted and repeated."""
    for nth in count():
        for again in count():
            volumes = new_volumes()
            has_died = dies(nth, volumes.swap)
            if not volumes.has_old_state:
                break
            if not dies(again, volumes.undo):
                break
            volumes.undo()
            archive.forget()
            volumes.check_before()
        archive.forget()
        volumes.check_before()
        if not has_died:
            break
    assert nth > 10


def test_an_interrupted_cleanup_removes_all_or_nothing(new_volumes: Callable[[], Volumes]) -> None:
    for nth in count():
        volumes = new_volumes()
        volumes.swap()
        has_died = dies(nth, archive.forget)
        if volumes.has_old_state:
            volumes.undo()
            archive.forget()
            volumes.check_before()
        else:
            archive.forget()
            volumes.check_after()
        if not has_died:
            break
    assert nth > 10


def test_a_photo_missing_in_both_scans_is_reported(
    new_volumes: Callable[[], Volumes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The copy of the database has its row, and neither scan has its files. A file deleted later stays pinned."""
    volumes = new_volumes()
    Path(volumes.database).unlink()
    with closing(sqlite3.connect(volumes.database)) as database:
        database.execute("CREATE TABLE photos_photo (original TEXT, thumbnail TEXT)")
        database.execute("INSERT INTO photos_photo VALUES ('originals/00/a.jpg', 'thumbs/00/a.webp')")
        database.execute("INSERT INTO photos_photo VALUES ('originals/09/gone.jpg', 'thumbs/09/gone.webp')")
        database.execute("INSERT INTO photos_photo VALUES ('', NULL)")
        database.execute('CREATE TABLE "odd ""Table""" ("a file" TEXT)')
        database.execute("""INSERT INTO "odd ""Table""\" VALUES ('mine.pdf')""")
        database.commit()
    archive.pin(volumes.database)
    (volumes.media / "originals/00/a.jpg").unlink()
    archive.rows(COLUMNS)
    printed = capsys.readouterr().out
    assert printed.splitlines() == [
        *("originals/00/a.jpg", "originals/09/gone.jpg"),
        *("thumbs/00/a.webp", "thumbs/09/gone.webp"),
        "private/mine.pdf",
    ]
    monkeypatch.setattr("sys.stdin", StringIO(printed))
    archive.missing()
    assert capsys.readouterr().out.splitlines() == ["originals/09/gone.jpg", "thumbs/09/gone.webp", "private/mine.pdf"]


# As pg_restore prints tables, with a tab between columns; the last column of the first table names no file.
DUMP = r"""--
-- PostgreSQL database dump
--
SET statement_timeout = 0;
COPY public.photos_photo (id, original, thumbnail, name) FROM stdin;
1|originals/00/a.jpg|thumbs/00/a.webp|COPY public.photos_photo (id) FROM stdin;
2|originals/tab\there\\.jpg|\N|x
3||thumbs/b.webp|\N
\.

COPY public."odd ""Table\""" ("a file", other) FROM stdin;
mine.pdf|1
\.

SELECT pg_catalog.setval('public.photos_photo_id_seq', 3, true);
""".replace("|", "\t").replace('\\"', '"')


def test_the_files_named_by_the_rows_of_a_dump_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", StringIO(DUMP))
    archive.dumped(COLUMNS)
    assert capsys.readouterr().out.splitlines() == [
        *("originals/00/a.jpg", "thumbs/00/a.webp"),
        *("originals/tab\there\\.jpg", "thumbs/b.webp"),
        "private/mine.pdf",
    ]
    archive.tables(COLUMNS)
    assert capsys.readouterr().out.splitlines() == ['--table=odd "Table"', "--table=photos_photo"]


def test_an_archive_has_the_id_of_its_library(
    new_volumes: Callable[[], Volumes], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The id from before the copy of the database: a later id may belong to a row that the copy lacks."""
    volumes = new_volumes()
    archive.library()
    ids = capsys.readouterr().out
    Path(volumes.database).unlink()
    with closing(sqlite3.connect(volumes.database)) as database:
        database.execute("CREATE TABLE photos_photo (original TEXT, thumbnail TEXT)")
    archive.pin(volumes.database)
    (volumes.media / archive.LIBRARY).write_text("later\n")
    archive.library()
    assert capsys.readouterr().out == "later\n"
    packed = BytesIO()
    stdout = TextIOWrapper(packed)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        archive.pack("sqlite")
    with tarfile.open(fileobj=BytesIO(packed.getvalue())) as tar:
        about = tar.extractfile(archive.ABOUT)
        assert about
        assert json.loads(about.read())["library"] == ids
        assert f"media/{archive.LIBRARY}" not in tar.getnames()
