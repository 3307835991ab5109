"""`python -m nvnmd` is the command line."""

import sys

from nvnmd.cli import main

if __name__ == "__main__":
    sys.exit(main())
