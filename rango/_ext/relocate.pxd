# Moves page images to the front of the data file: only a door.
