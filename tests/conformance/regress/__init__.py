"""Recorded statements and answers of an independent implementation, run against Rango."""
