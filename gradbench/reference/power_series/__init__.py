"""Certified Taylor coefficients along a direction: the second rule set of the certified reference."""
