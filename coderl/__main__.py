"""`python -m coderl` is the command `coderl`."""

import sys

from coderl.cli import main

if __name__ == "__main__":
    sys.exit(main())
