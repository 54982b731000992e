"""`python -m sandbox` is the command `sandbox`; without the libraries that the command needs, it names the first one."""

import sys


def main() -> None:
    try:
        from sandbox.cli import main as command
    except ModuleNotFoundError as error:
        sys.stderr.write(f"sandbox: the command needs {error.name}, which is not here: pip install {error.name}\n")
        sys.exit(2)
    command()


if __name__ == "__main__":
    main()
