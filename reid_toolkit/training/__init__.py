"""Training: Algorithm 1 on a dataset, and everything that it needs of torch."""
