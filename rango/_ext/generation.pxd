# Generations: reading what a slot names. Compiled callers use the doors, too.
