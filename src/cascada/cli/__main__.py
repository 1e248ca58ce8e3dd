"""`python -m cascada.cli`, where the command itself is not on the path."""

import sys

from cascada.cli.command import main

sys.exit(main())
