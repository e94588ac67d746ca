"""Aggregation: pipelines of stages over the documents of a collection."""
