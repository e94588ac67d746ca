"""One module per command; each has `SUMMARY`, `add_arguments(parser)` and `main(options) -> exit
code`.
"""
