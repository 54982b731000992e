"""PHP, by its command for terminals: what it warns of goes to stderr."""

from __future__ import annotations

from sandbox.languages import Language

LANGUAGE = Language(
    name="php",
    source="main.php",
    run=("php", "-d", "display_errors=stderr", "{source}"),
    install="apt-get install php-cli",
    binds=("/etc/php",),  # which of its extensions to load
    hello="<?php echo strtoupper(fgets(STDIN));\n",
)
