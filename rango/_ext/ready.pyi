"""What the readers of JSON Lines and of BSON dumps share; nothing of it is called from Python."""
