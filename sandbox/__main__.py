"""`python -m sandbox` is the command `sandbox`."""

import sys

try:
    from sandbox.cli import main
except ModuleNotFoundError as error:
    sys.stderr.write(f"sandbox: the command needs {error.name}, which is not here: pip install {error.name}\n")
    sys.exit(2)

main()
