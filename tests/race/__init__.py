"""Snapshots and transactions under threads and tasks."""
