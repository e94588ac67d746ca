"""Rango against its own past (`python3 ci bench`) and beside others (`python3 ci peers`)."""
