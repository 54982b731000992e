"""What does the sandbox raise? One tree; every message is one line that names the input, the fault and the remedy."""


class SandboxError(Exception):
    """Base of the errors below."""


class BadInput(SandboxError):
    """A file, or a field in it, cannot be graded as it is."""
