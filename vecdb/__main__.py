"""``python -m vecdb``: the same as the ``vecdb`` command."""

import sys

from vecdb.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
