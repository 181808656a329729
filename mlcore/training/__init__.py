"""From a table to a fitted, scored, explained model."""
