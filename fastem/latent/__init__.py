"""Latent structures: what hidden variables do to the rows."""
