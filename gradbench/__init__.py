"""gradbench: the referee for gradients."""

__version__ = "0.1.0"
