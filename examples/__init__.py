"""Examples that do real work: modules that `worker.py --module examples.NAME` serves."""
