"""Programs replayed with random rounding (Monte-Carlo arithmetic)."""
