"""Independent hidden labels: mixtures."""
