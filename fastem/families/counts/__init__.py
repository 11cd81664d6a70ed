"""Counts that are more dispersed than sums of independent events: log-densities from tables of counts."""
