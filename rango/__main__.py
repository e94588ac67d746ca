"""`python -m rango` is `rango`."""

from rango.cli import main

main()
