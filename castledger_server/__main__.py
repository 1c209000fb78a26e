"""``python -m castledger_server``: the same as ``castledger``."""

from __future__ import annotations

import sys

from castledger_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
