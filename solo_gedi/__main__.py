"""`python -m solo_gedi`, the same as `solo-gedi`."""

from solo_gedi.cli import main

main()
