"""The progress bar of long work on the workstation."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def bar() -> Progress:
    """Return a progress display on standard error, where it does not mix with results."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def counting(
    progress: Progress, words: str, total: int | None = None
) -> Callable[[int, int], None]:
    """Add a bar, and return what is told how many are done, of how many."""
    task = progress.add_task(words, total=total)

    def report(done: int, of: int) -> None:
        progress.update(task, completed=done, total=of)

    return report
