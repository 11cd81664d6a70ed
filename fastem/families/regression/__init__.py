"""Regressions: the last column is a response, the others are what it depends on."""
