"""The trainer, what it keeps of each question, and statistics of what it reads."""
