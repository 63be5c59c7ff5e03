"""Reverse mode as source to source: a program to the program of its vector-Jacobian product."""
