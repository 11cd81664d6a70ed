"""Positive values, which may be censored: waiting times, sizes, lifetimes."""
