"""The trainer, what it keeps of each question, the losses, and statistics of the tokens."""

LOGITS_AT_ONCE = 1 << 25  # numbers of a step's logits that exist at one time
