"""``python -m asteri``."""

from asteri.cli import main

if __name__ == "__main__":
    main()
