# Reading a log in order for those who watch it. Everything is a door: see commit_walk.pyx.
