"""``python -m castledger``."""

from __future__ import annotations

import sys

from castledger.cli import main

if __name__ == "__main__":
    sys.exit(main())
