"""Says how far a build is, in a line for each stage that has work to do and for each image, with the seconds it took.

    docker compose build 2>&1 | tee LOG | scripts/build_progress.py

Reads what either builder says: the classic one ("Step 3/9 : RUN ...", " ---> Using cache") and BuildKit in plain
progress ("#7 [web build 2/6] RUN ...", "#7 CACHED"). What it does not know it leaves out; all of it is in the log.
Standard library only, and Python 3.9, as all of scripts/ops.
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
IDLE = {"ARG", "FROM"}  # steps that do nothing by themselves


class Classic:
    """The builder that takes one step after the other."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._image = self._stage = ""
        self._image_began = self._stage_began = clock()
        self._is_new = self._is_busy = False  # the image, the stage
        self._step = ""  # the one that has not said yet whether the cache had it

    def hear(self, line: str) -> Iterator[str]:
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
    """The one that takes steps side by side and tells of each how long it took."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[str, bool]] = {}  # number -> its stage, and whether it is the last one there
        self._took: dict[str, float] = {}

    def hear(self, line: str) -> Iterator[str]:
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
    """Yield what there is to say, as soon as it can be said."""
    builders = Classic(clock), Buildkit()
    before = ""
    for line in lines:
        for builder in builders:
            for said in builder.hear(line.rstrip()):
                if said != before:
                    yield said
                before = said


def main() -> None:
    for said in progress(sys.stdin, time.monotonic):
        print(f"==>   {said}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
