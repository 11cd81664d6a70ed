"""Compiled building blocks that know no model: vectors, tiles, verbs, threads."""
