"""What came of a run? One HTML file that answers without a network: `write_report(folder)`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coderl.run_folder import RunFolder


def write_report(folder: RunFolder) -> Path:
    """As `coderl.report.page.write_report`; what draws is loaded now, so that the markup alone stays light."""
    from coderl.report.page import write_report as write

    return write(folder)
