"""Every error that coderl reports to a person: one line that names the input, the fault and the remedy (exit code 2)."""

from __future__ import annotations


class CoderlError(Exception):
    """Base of all errors below; the CLI prints its message as one line and exits with 2."""


class ConfigError(CoderlError):
    """The configuration cannot be used as it is."""


class ModelError(CoderlError):
    """A policy or tokenizer cannot be loaded or does not fit the job."""


class RunFolderError(CoderlError):
    """A run folder is missing, in use, unreadable, or its disk is full."""


class MissingExtra(CoderlError):
    """A package of an optional extra is not installed."""


class TrainingStopped(CoderlError):
    """Training stopped itself: NaN, too many unscorable verdicts, a failed self-check."""


class EngineError(CoderlError):
    """An engine that samples for the trainer cannot be reached, or answers what cannot be learned from."""


class FeedbackError(CoderlError):
    """A model that judges cannot be reached, or refuses to answer."""
