"""Serving: a Bento for any model version, its typed input made from the data contract."""
