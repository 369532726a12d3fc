"""``sklearn-influence`` and ``python -m sklearn_influence``."""

import sys


def main():
    """The command line of `sklearn_influence.cli`, which an interrupt ends without a traceback, imports included."""
    try:
        from .cli import main as run

        return run()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
