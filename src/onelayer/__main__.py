"""`python -m onelayer` is the command `onelayer`."""

from onelayer.cli import main

main()
