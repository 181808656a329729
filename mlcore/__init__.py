"""The machine-learning operations loop as a library: pure where it can be, no orchestrator, no server."""
