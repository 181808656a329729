"""The revisions; one that has been released never changes."""
