"""``python -m sklearn_influence`` is ``sklearn-influence``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
