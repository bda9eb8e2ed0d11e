"""What is stored of runs: the schema, rows, locks, and which run a command resumes."""
