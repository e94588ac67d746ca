"""MongoDB's unified tests, run against Rango."""
