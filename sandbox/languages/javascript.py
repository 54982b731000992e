"""JavaScript, by Node.js."""

from __future__ import annotations

from sandbox.languages import Harness, Language

LANGUAGE = Language(
    name="javascript",
    aliases=("js", "node"),
    source="main.js",
    run=("node", "--max-old-space-size={memory_mb}", "{source}"),
    install="apt-get install nodejs",
    time_factor=1.5,
    environment={"OPENSSL_CONF": "/dev/null"},  # it wants to read the one in /etc
    reserves_memory=True,
    processes=16,
    hello="console.log(require('fs').readFileSync(0, 'utf8').trim().toUpperCase());\n",
    harness=Harness(
        head="console.assert = (right, ...why) => { if (!right) throw new Error(`Assertion failed ${why}`); };\n",
        end="console.log('\\n' + require('fs').readFileSync(0, 'utf8'));",
    ),
)
