"""Benchmarks: cases planned, launched in fresh processes, and their statistics."""
