"""What other programs left behind, read."""
