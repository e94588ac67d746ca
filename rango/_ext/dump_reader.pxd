# BSON dumps to BSON: see dump_reader.pyx. Only Python calls it.
