"""`python -m fastproxy` is the command `fastproxy`."""

from fastproxy.cli import main

if __name__ == "__main__":
    main()
