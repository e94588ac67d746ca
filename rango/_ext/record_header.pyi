"""The fields of a record's header as elements of its document."""
