"""``python -m fastem`` is the command ``fastem``."""

from fastem.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
