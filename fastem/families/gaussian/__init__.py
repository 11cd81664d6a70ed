"""Gaussians: two forms of kernels, triangular and diagonal, times the structure of the covariances."""
