"""What came of a run? One HTML file that answers without a network: `write_report(folder)`."""

from coderl.report.page import write_report

__all__ = ["write_report"]
