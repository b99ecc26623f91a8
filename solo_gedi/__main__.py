"""`python -m solo_gedi`, the same as `solo-gedi`."""

import sys

from solo_gedi.cli import main

sys.exit(main())
