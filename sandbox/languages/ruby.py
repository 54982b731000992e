"""Ruby."""

from __future__ import annotations

from sandbox.languages import Language

LANGUAGE = Language(
    name="ruby",
    aliases=("rb",),
    source="main.rb",
    run=("ruby", "{source}"),
    install="apt-get install ruby",
    reserves_memory=True,
    processes=2,
    hello="puts gets.upcase\n",
)
