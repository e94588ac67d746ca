"""The compiled core:

bytes. Each module is a triplet x.pyx (body), x.pxd (C contract) and x.pyi (Python contract).
"""
