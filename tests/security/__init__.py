"""What somebody with the files, or with a hex editor, can learn or do."""
