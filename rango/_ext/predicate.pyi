"""Tests of one value that are no comparisons."""
