# A store that goes on from a generation: only a door.
