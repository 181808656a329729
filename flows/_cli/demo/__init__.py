"""`mlops demo`: announces data and sends traffic, and watches the loop do the rest."""

from flows._cli.demo.run import run

__all__ = ["run"]
