"""Algorithm 1 on a dataset: the loop, and everything it needs of torch."""
