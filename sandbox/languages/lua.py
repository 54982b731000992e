"""Lua."""

from __future__ import annotations

from sandbox.languages import Language

LANGUAGE = Language(
    name="lua",
    source="main.lua",
    run=("lua", "{source}"),
    version=("-v",),
    install="apt-get install lua5.4",
    hello="print(io.read():upper())\n",
)
