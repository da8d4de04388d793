"""Training on workers: the lease table, the worker, and the engines that start workers."""
