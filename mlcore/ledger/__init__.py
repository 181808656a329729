"""The database that is the truth."""
