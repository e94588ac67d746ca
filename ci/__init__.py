"""Everything that a reviewer runs, as `python3 ci <command>`. Standard library only: it makes its
own environment.
"""
