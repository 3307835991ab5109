"""`python -m nvnmd` is the command line."""

import sys

from nvnmd.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
