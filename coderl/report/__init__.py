"""What came of a run? One HTML file that answers without a network: `write_report(folder)`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coderl.run_folder import RunFolder
    from tasks.task import Task


def write_report(folder: RunFolder, *, tasks: Sequence[Task] | None = None) -> Path:
    """As `coderl.report.page.write_report`; what draws is loaded now, so that the markup alone stays light."""
    from coderl.report.page import write_report as write

    return write(folder, tasks=tasks)
