"""``python -m flows._cli`` is `mlops`."""

from flows._cli.app import main

if __name__ == "__main__":
    main()
