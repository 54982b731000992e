"""Which token do a server and its clients share?"""

from __future__ import annotations

import os
from pathlib import Path

from sandbox.errors import BadInput

TOKEN_VARIABLE = "SANDBOX_TOKEN"


def read_token(file: Path | None) -> str:
    """The token in `file`, else in SANDBOX_TOKEN; "" if there is none. Raises BadInput."""
    if file is None:
        return os.environ.get(TOKEN_VARIABLE, "").strip()
    try:
        token = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"{file}: the token cannot be read ({getattr(error, 'strerror', None) or error}): check the path"
        ) from None
    if not token:
        raise BadInput(f"{file}: holds no token: write one line")
    return token
