"""aiohttp: python upload_aiohttp.py URL TOKEN FILE

Prints the answer. Exit status 1 when that is a refusal.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import aiohttp


async def pieces(source: IO[bytes]) -> AsyncIterator[bytes]:
    """A generator has no length, so aiohttp sends it in chunks."""
    while piece := await asyncio.to_thread(source.read, 64 * 1024):
        yield piece


async def upload(url: str, token: str, source: IO[bytes]) -> bool:
    headers = {"Authorization": f"Token {token}"}
    timeout = aiohttp.ClientTimeout(total=None, sock_read=90)  # of silence, not in all
    async with (
        aiohttp.ClientSession(headers=headers, timeout=timeout) as session,
        session.put(url, data=pieces(source)) as answer,
    ):
        print(await answer.text())
        return answer.ok


url, token, file = sys.argv[1:]
with Path(file).open("rb") as photo:
    sys.exit(not asyncio.run(upload(url, token, photo)))
