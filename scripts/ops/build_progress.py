"""Prints the progress of a build: a line for each stage that has work to do and for each image, with its seconds.

    docker compose build 2>&1 | tee LOG | python3 scripts/ops/build_progress.py

Reads the output of either builder: the classic one ("Step 3/9 : RUN ...", " ---> Using cache"), or BuildKit with plain
progress ("#7 [web build 2/6] RUN ...", "#7 CACHED"). Skips unknown lines; the log has all of them. Standard library
only, Python 3.9, as all of scripts/ops.
"""

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator

BUILDING = re.compile(r"Building (\S+)$")  # Compose 1.29
STEP = re.compile(r"Step \d+/\d+ : (\w+)(?: .*)?$")
STAGE = re.compile(r"Step \d+/\d+ : FROM \S+ AS (\S+)", re.IGNORECASE)
TAGGED = re.compile(r"Successfully tagged (\S+)")
VERTEX = re.compile(r"#(\d+) \[(?!internal)([^\]]*?) ?(\d+)/(\d+)\] (\w+)")
ENDED = re.compile(r"#(\d+) (?:DONE ([0-9.]+)s|(CACHED))$")
NAMED = re.compile(r"#\d+ naming to (\S+)")
IDLE = {"ARG", "FROM"}  # steps without work of their own


class Classic:
    """The builder that takes one step after the other."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._image = self._stage = ""
        self._image_began = self._stage_began = clock()
        self._is_new = self._is_busy = False  # the image, the stage
        self._step = ""  # a step of which the builder has not yet printed whether the cache had it

    def read(self, line: str) -> Iterator[str]:
        if found := BUILDING.match(line):
            self._image, self._is_new, self._image_began = found[1], False, self._clock()
        elif line.strip() == "---> Using cache":
            self._step = ""
        elif found := STEP.match(line):
            self._settle()
            if stage := STAGE.match(line):
                yield from self._end_of_stage()
                self._stage, self._stage_began = stage[1], self._clock()
            self._step = found[1]
        elif found := TAGGED.match(line):
            self._settle()
            yield from self._end_of_stage()
            what = "built" if self._is_new else "nothing changed"
            yield f"{self._image or found[1]}: {what} ({self._clock() - self._image_began:.0f} s)"
            self._image, self._stage, self._is_new, self._image_began = "", "", False, self._clock()

    def _settle(self) -> None:
        if self._step and self._step not in IDLE:
            self._is_busy = self._is_new = True
        self._step = ""

    def _end_of_stage(self) -> Iterator[str]:
        if self._is_busy and self._stage:
            yield f"{self._image or 'image'}, stage {self._stage}: {self._clock() - self._stage_began:.0f} s"
        self._is_busy = False


class Buildkit:
    """The builder that runs steps in parallel, and prints how long each one took."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[str, bool]] = {}  # number -> its stage, and whether it is the last one there
        self._took: dict[str, float] = {}

    def read(self, line: str) -> Iterator[str]:
        if found := VERTEX.match(line):
            self._steps[found[1]] = (found[2] or "image", found[3] == found[4])
        elif (found := ENDED.match(line)) and found[1] in self._steps:
            stage, is_last = self._steps.pop(found[1])
            if not found[3]:
                self._took[stage] = self._took.get(stage, 0.0) + float(found[2])
            if is_last and self._took.get(stage, 0.0) >= 1:
                yield f"stage {stage}: {self._took.pop(stage):.0f} s"
        elif found := NAMED.match(line):
            yield f"{found[1].rpartition('/')[2]}: ready"


def progress(lines: Iterable[str], clock: Callable[[], float]) -> Iterator[str]:
    """Yield lines of progress as soon as they are known."""
    builders = Classic(clock), Buildkit()
    before = ""
    for line in lines:
        for builder in builders:
            for message in builder.read(line.rstrip()):
                if message != before:
                    yield message
                before = message


def main() -> None:
    for message in progress(sys.stdin, time.monotonic):
        print(f"==>   {message}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
