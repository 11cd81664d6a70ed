"""The loop and what it runs on: the contract of a model, data, sums, clusters."""
