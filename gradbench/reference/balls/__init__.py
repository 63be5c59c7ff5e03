"""Rigorous enclosures: ball arithmetic for every primitive, reverse sweeps of it, edges and one-sided slopes."""
