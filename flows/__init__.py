"""Prefect flows: each loads, calls one function of mlcore, saves and announces."""
