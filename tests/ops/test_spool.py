"""Lines that make spool adds to files of this machine and removes from them."""

from pathlib import Path

from scripts.ops.spool import drop_lines, replace_line


def test_a_line_replaces_the_earlier_lines_of_its_setting(tmp_path: Path) -> None:
    """The file keeps its mode, and a link to the file stays a link."""
    file, link = tmp_path / "file", tmp_path / "link"
    file.write_text("A=1\nWEB_SPOOL=old\n WEB_SPOOL = older\nB=2")
    file.chmod(0o640)
    link.symlink_to(file)
    replace_line(link, r" *WEB_SPOOL *=", "WEB_SPOOL=new")
    assert file.read_text() == "A=1\nB=2\nWEB_SPOOL=new\n"
    assert (file.stat().st_mode & 0o777, link.is_symlink()) == (0o640, True)
    drop_lines(file, "WEB_SPOOL=")
    assert file.read_text() == "A=1\nB=2\n"
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["file", "link"]
