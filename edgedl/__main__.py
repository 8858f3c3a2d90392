"""`python -m edgedl` is `edgedl`."""

from edgedl.cli import main

main()
