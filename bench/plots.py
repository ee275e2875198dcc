"""Bar charts as SVG, by hand: a chart of bars is a dozen rectangles, and no reason to install a plotting library.

Each shows how much a server gets done in one second of CPU time, which is what a busy machine does not distort.
Colours follow the reader's light or dark scheme.
"""

from html import escape
from pathlib import Path
from typing import Final, NamedTuple

from bench.report import Results
from bench.servers import OURS
from bench.workloads import WORKLOADS

WIDTH, NAMES, BAR, GAP, HEAD = 720, 130, 16, 6, 34  # pixels
NUMBERS: Final = 110  # room for the figure behind the longest bar
CHARTS: Final = {
    "small": ("Requests in a second of CPU time", ["hello", "browser", "page"]),
    "uploads": ("Uploads in a second of CPU time", ["upload-3-length", "upload-3-64k", "upload-3-8k"]),
    "downloads": ("Downloads in a second of CPU time", ["stream", "file"]),
}
STYLE: Final = (
    "text{font:13px system-ui,sans-serif;fill:#1f2328}.title{font-size:16px;font-weight:600}.workload{font-weight:600}"
    "rect{fill:#b6bec9}.ours{fill:#1a7f5a}.trouble{fill:#cf222e}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}rect{fill:#59636e}.ours{fill:#3fb98a}.trouble{fill:#ff7b72}}"
)


class Bar(NamedTuple):
    """One server; `value` None where `trouble` says why there is none."""

    name: str
    value: float | None
    trouble: str


def draw(results: Results, folder: Path) -> list[Path]:
    """Write the charts for which there are figures; returns their files."""
    written = []
    titles = {workload.name: workload.title for workload in WORKLOADS}
    for name, (title, workloads) in CHARTS.items():
        panels = {titles[workload]: bars(results, workload) for workload in workloads if results.of(workload)}
        if panels:
            path = folder / f"{name}.svg"
            path.write_text(chart(title, panels))
            written.append(path)
    return written


def bars(results: Results, workload: str) -> list[Bar]:
    """Return the servers at one workload, the best first, those in trouble last."""
    found = []
    for row in results.of(workload):
        cpu = row.figures.get("cpu") if not row.trouble else None
        found.append(Bar(row.server, 1 / cpu if cpu else None, row.trouble))
    return sorted(found, key=lambda bar: -(bar.value or 0.0))


def chart(title: str, panels: dict[str, list[Bar]]) -> str:
    """Return an SVG document with one panel for each workload."""
    parts, top = [f'<text class="title" x="0" y="18">{escape(title)}</text>'], HEAD
    for workload, found in panels.items():
        parts.append(f'<text class="workload" x="0" y="{top + 14}">{escape(workload)}</text>')
        top += 22
        longest = max((bar.value for bar in found if bar.value), default=1.0)
        for bar in found:
            parts.append(_bar(bar, longest, top))
            top += BAR + GAP
        top += 12
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" role="img" '
        f'aria-label="{escape(title)}">\n<style>{STYLE}</style>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _bar(bar: Bar, longest: float, top: int) -> str:
    name = f'<text x="{NAMES - 8}" y="{top + 13}" text-anchor="end">{escape(bar.name)}</text>'
    if bar.value is None:
        return name + f'<text class="trouble" x="{NAMES}" y="{top + 13}">{escape(bar.trouble)}</text>'
    width = (WIDTH - NAMES - NUMBERS) * bar.value / longest
    kind = ' class="ours"' if bar.name == OURS.name else ""
    return (
        f'{name}<rect{kind} x="{NAMES}" y="{top}" width="{width:.1f}" height="{BAR}" rx="2"/>'
        f'<text x="{NAMES + width + 6:.1f}" y="{top + 13}">{bar.value:,.0f}</text>'
    )
