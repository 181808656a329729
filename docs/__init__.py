"""Documentation; `python -m docs.build` writes the generated part of it."""
