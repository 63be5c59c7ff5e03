"""Finite differences with an honest error bar: one batched call, a ladder of steps, and random projections."""
