"""`python -m rango` is `rango`."""

from rango.cli import main

if __name__ == "__main__":
    main()
