"""`python -m together_emulator`."""

import sys

from together_emulator.cli import main

if __name__ == "__main__":
    sys.exit(main())
