"""`python -m gradbench`, the same as `gradbench`."""

from gradbench.cli import main

main()
