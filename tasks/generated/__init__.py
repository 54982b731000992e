"""Endless seeded tasks: `compose` for models made from scratch, and graded families over numbers, text and lists."""

from tasks.generated.stream import SOURCE, stream

__all__ = ["SOURCE", "stream"]
