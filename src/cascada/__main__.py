"""`python -m cascada`: the same command as `cascada`, where that is not on the path."""

import sys

from cascada.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
