"""`python -m coderl` is the command `coderl`; without the libraries that the command needs, it names the first one."""

import sys


def main() -> int:
    try:
        from coderl.cli import main as command
    except ModuleNotFoundError as error:
        sys.stderr.write(f"coderl: the command needs {error.name}, which is not here: pip install {error.name}\n")
        return 2
    return command()


if __name__ == "__main__":
    sys.exit(main())
