"""Evaluation at fifty digits and more, and difference quotients of it."""
