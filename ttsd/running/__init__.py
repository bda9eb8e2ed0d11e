"""Runs and many of them: the engine, the record, resuming, batches, the cluster."""
