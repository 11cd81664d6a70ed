"""Multivariate t distributions: heavy tails on the kernels of Gaussians."""
