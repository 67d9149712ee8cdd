"""``python -m reid_toolkit`` runs the ``reid`` command."""

from reid_toolkit.cli import main

if __name__ == "__main__":
    main()
