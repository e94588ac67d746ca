# JSON Lines to BSON: see json_reader.pyx. Only Python calls it.
