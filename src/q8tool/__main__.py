"""`python -m q8tool` is the command `q8tool`."""

import sys

from q8tool.cli import main

if __name__ == "__main__":
    sys.exit(main())
