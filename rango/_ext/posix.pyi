"""Files of the operating system: what Python may ask about them. The doors are in vfs."""

RANGE_LOCKS: bool
