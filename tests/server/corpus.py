"""Reads the requests below tests/server/corpus: bytes and expectations. Its README describes the format."""

import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "corpus"
MAX_BODY, MEMORY = 1000, 100

_ESCAPES = {"r": "\r", "n": "\n", "t": "\t"}
_ESCAPE = re.compile(r"\\(?:([rnt])|x([0-9a-f]{2}))")
_REPEATED = re.compile(r"\\\((.*?)\*([0-9]+)\)", re.DOTALL)


def names(kind: str) -> list[str]:
    return sorted(path.stem for path in (FOLDER / kind).glob("*.http"))


def data(kind: str, name: str) -> bytes:
    """Return the bytes that the client sends."""
    text = repeated((FOLDER / kind / f"{name}.http").read_text().replace("\n", ""))
    return _ESCAPE.sub(lambda match: _ESCAPES[match[1]] if match[1] else chr(int(match[2], 16)), text).encode("latin-1")


def expected(kind: str, name: str) -> Any:
    return _repeated_in(json.loads((FOLDER / kind / f"{name}.json").read_text()))


def repeated(text: str) -> str:
    return _REPEATED.sub(lambda match: match[1] * int(match[2]), text)


def _repeated_in(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _repeated_in(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_repeated_in(item) for item in value]
    return repeated(value) if isinstance(value, str) else value
