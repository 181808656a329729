"""The gate: a challenger against the champion on the same held-out rows."""
