"""Who trains: the lease table, the worker, and the engines that start workers."""
