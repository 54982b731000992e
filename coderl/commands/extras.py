"""What if a package of an optional extra is missing? One line that names the pip command, wherever a command imports it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from coderl.errors import MissingExtra


@contextlib.contextmanager
def needing_extra(extra: str = "train") -> Iterator[None]:
    """Around an import: a missing package of that extra becomes one line. Raises MissingExtra."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # bars of loading and saving would run into ours
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name in ("coderl", "sandbox", "tasks", ""):
            raise
        raise MissingExtra(f"this needs {name}: pip install 'coderl[{extra}]'") from error
