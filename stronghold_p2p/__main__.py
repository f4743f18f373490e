"""``python -m stronghold_p2p``: the command line."""

import sys

from stronghold_p2p.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
